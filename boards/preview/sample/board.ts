/**
 * A board with every panel type, whose queries need no tables: ClickHouse counts numbers, Mimir counts seconds.
 *
 * It is for looking at the preview and for its browser test; it says nothing of the platform.
 */
import * as barchart from '@grafana/grafana-foundation-sdk/barchart';
import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as gauge from '@grafana/grafana-foundation-sdk/gauge';
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import * as logs from '@grafana/grafana-foundation-sdk/logs';
import * as piechart from '@grafana/grafana-foundation-sdk/piechart';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as text from '@grafana/grafana-foundation-sdk/text';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import { FORMAT, MINUTES, promql, sql } from './queries.ts';

type PanelBuilder = Parameters<dashboard.DashboardBuilder['withPanel']>[0];

const steps = (...list: Array<[value: number | null, color: string]>) =>
  new dashboard.ThresholdsConfigBuilder()
    .mode(dashboard.ThresholdsMode.Absolute)
    .steps(list.map(([value, color]) => ({ value, color })));

const OBJECTIVE = steps([null, 'red'], [0.99, 'orange'], [0.999, 'green']);

const DESCRIPTION =
  '**Definition:** list 2xx ÷ list (2xx + 5xx).\n\n**Source:** ClickHouse.\n\n**If red:** open the `service` board.';

function valuePanels(): PanelBuilder[] {
  return [
    new stat.PanelBuilder()
      .title('Menu success')
      .description(DESCRIPTION)
      .unit('percentunit')
      .decimals(2)
      .thresholds(OBJECTIVE)
      .links([
        new dashboard.DashboardLinkBuilder('SLO')
          .type(dashboard.DashboardLinkType.Link)
          .url('/d/sample?${__url_time_range}'),
      ])
      .withTarget(
        sql(
          'A',
          `SELECT toDateTime(${MINUTES} AS t) AS time, 0.9 + 0.02 * sin(t / 1200) AS success ORDER BY time`,
          FORMAT.timeseries,
        ),
      )
      .gridPos({ x: 0, y: 0, w: 4, h: 4 }),
    new stat.PanelBuilder()
      .title('Affected requests')
      .unit('short')
      .noValue('unknown')
      .colorMode(common.BigValueColorMode.Background)
      .graphMode(common.BigValueGraphMode.None)
      .thresholds(steps([null, 'green'], [1, 'red']))
      .withTarget(sql('A', 'SELECT 0 AS affected'))
      .gridPos({ x: 4, y: 0, w: 4, h: 4 }),
    new stat.PanelBuilder()
      .title('Nothing measured')
      .noValue('not measured yet')
      .withTarget(sql('A', 'SELECT 1 AS n WHERE 0'))
      .gridPos({ x: 8, y: 0, w: 4, h: 4 }),
    new gauge.PanelBuilder()
      .title('Apdex')
      .min(0)
      .max(1)
      .decimals(2)
      .thresholds(steps([null, 'red'], [0.7, 'orange'], [0.85, 'green']))
      .withTarget(promql('A', 'vector(0.87)', { instant: true, range: false }))
      .gridPos({ x: 12, y: 0, w: 4, h: 4 }),
    new bargauge.PanelBuilder()
      .title('Views by restaurant')
      .unit('short')
      .orientation(common.VizOrientation.Horizontal)
      .displayMode(common.BarGaugeDisplayMode.Gradient)
      .reduceOptions(new common.ReduceDataOptionsBuilder().values(true).calcs([]))
      .thresholds(steps([null, 'blue']))
      .withTarget(
        sql(
          'A',
          "SELECT arrayJoin([('Sakura Sushi', 420), ('Thai Palace', 310), ('Tony\\'s Pizza', 290), ('Healthy Bites', 120)]) AS r, r.1 AS restaurant, r.2 AS views",
        ),
      )
      .withTransformation({ id: 'organize', options: { excludeByName: { r: true } } })
      .gridPos({ x: 16, y: 0, w: 8, h: 4 }),
  ];
}

function timePanels(): PanelBuilder[] {
  const perRoute = `SELECT toDateTime(${MINUTES} AS t) AS time, arrayJoin(['item', 'list']) AS route, if(route = 'list', 40, 25) + 20 * sin(t / 900 + (route = 'list')) AS requests WHERE $__conditionalAll(route IN (\${route:singlequote}), $route) ORDER BY time, route`;
  return [
    new timeseries.PanelBuilder()
      .title('Requests of $route')
      .description(DESCRIPTION)
      .unit('reqps')
      .fillOpacity(10)
      .legend(
        new common.VizLegendOptionsBuilder()
          .showLegend(true)
          .displayMode(common.LegendDisplayMode.Table)
          .placement(common.LegendPlacement.Bottom)
          .calcs(['lastNotNull', 'max']),
      )
      .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi))
      .dataLinks([
        new dashboard.DashboardLinkBuilder('Logs of ${__field.labels.route}').url(
          '/d/service?var-route=${__field.labels.route}&${__url_time_range}',
        ),
      ])
      .withTarget(sql('A', perRoute, FORMAT.timeseries))
      .gridPos({ x: 0, y: 4, w: 12, h: 9 }),
    new timeseries.PanelBuilder()
      .title('p95 with exemplars and thresholds')
      .unit('s')
      .thresholds(steps([null, 'green'], [1.3, 'red']))
      .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed))
      .withTarget(promql('A', '1 + 0.5 * sin(vector(time()) / 900)', { legendFormat: 'p95', exemplar: true }))
      .gridPos({ x: 12, y: 4, w: 12, h: 9 }),
    new timeseries.PanelBuilder()
      .title('By status class, stacked')
      .unit('short')
      .drawStyle(common.GraphDrawStyle.Bars)
      .fillOpacity(80)
      .lineWidth(0)
      .axisSoftMin(0)
      .stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal))
      .overrideByName('5xx', [{ id: 'color', value: { mode: 'fixed', fixedColor: 'red' } }])
      .overrideByName('2xx', [{ id: 'color', value: { mode: 'fixed', fixedColor: 'green' } }])
      .withTarget(
        sql(
          'A',
          `SELECT toStartOfInterval(toDateTime(${MINUTES} AS t), INTERVAL 600 second) AS time, count() * 9 AS \`2xx\`, countIf(intDiv(t, 60) % 7 = 0) * 4 AS \`5xx\` GROUP BY time ORDER BY time`,
          FORMAT.timeseries,
        ),
      )
      .gridPos({ x: 0, y: 13, w: 12, h: 8 }),
    new statetimeline.PanelBuilder()
      .title('Bad minutes by route')
      .mappings([
        {
          type: dashboard.MappingType.ValueToText,
          options: { '0': { text: 'good', color: 'green' }, '1': { text: 'bad', color: 'red' } },
        },
      ] as dashboard.ValueMapping[])
      .withTarget(
        sql(
          'A',
          `SELECT toDateTime(${MINUTES} AS t) AS time, arrayJoin(['item', 'list']) AS route, toUInt8(sin(t / 1500 + (route = 'list')) > 0.8) AS bad ORDER BY time, route`,
          FORMAT.timeseries,
        ),
      )
      .gridPos({ x: 12, y: 13, w: 12, h: 4 }),
    new heatmap.PanelBuilder()
      .title('Latency')
      .yAxis(new heatmap.YAxisConfigBuilder().unit('s'))
      .withTarget(
        promql(
          'A',
          ['0.005', '0.01', '0.025', '0.05', '0.1', '+Inf']
            .map(
              (le, index) =>
                `label_replace(vector(${[4, 22, 70, 90, 97, 100][index]}) + 3 * sin(vector(time()) / ${600 + 90 * index}), "le", "${le}", "", "")`,
            )
            .join(' or '),
          { format: 'heatmap', legendFormat: '{{le}}' },
        ),
      )
      .gridPos({ x: 12, y: 17, w: 12, h: 8 }),
  ];
}

function listPanels(): PanelBuilder[] {
  const items =
    "SELECT arrayJoin([('1', 'Margherita Pizza', 12.99, 290, 0.12), ('2', 'Chicken Pad Thai', 14.99, 310, -0.04), ('3', 'Classic Burger', 11.99, 180, 0.31), ('5', 'Sushi Platter', 24.99, 420, 0.02)]) AS r, r.1 AS id, r.2 AS item, toDecimal64(r.3, 2) AS price, r.4 AS views, r.5 AS change";
  return [
    new table.PanelBuilder()
      .title('Items')
      .overrideByName('price', [
        { id: 'unit', value: 'currencyUSD' },
        { id: 'decimals', value: 2 },
      ])
      .overrideByName('views', [
        { id: 'custom.cellOptions', value: { type: 'gauge', mode: 'gradient' } },
        { id: 'min', value: 0 },
      ])
      .overrideByName('change', [
        { id: 'unit', value: 'percentunit' },
        { id: 'custom.cellOptions', value: { type: 'color-text' } },
        {
          id: 'thresholds',
          value: {
            mode: 'absolute',
            steps: [
              { value: null, color: 'red' },
              { value: 0, color: 'green' },
            ],
          },
        },
      ])
      .overrideByName('item', [
        { id: 'links', value: [{ title: 'Open', url: '/d/sample?var-item=${__data.fields["id"]}' }] },
      ])
      .withTarget(sql('A', items))
      .withTransformation({ id: 'organize', options: { excludeByName: { r: true } } })
      .gridPos({ x: 0, y: 21, w: 12, h: 8 }),
    new barchart.PanelBuilder()
      .title('What customers saw')
      .unit('short')
      .overrideByName('500', [{ id: 'color', value: { mode: 'fixed', fixedColor: 'red' } }])
      .withTarget(
        sql(
          'A',
          "SELECT arrayJoin([('list', 900, 0, 100), ('item', 1400, 220, 0)]) AS r, r.1 AS route, r.2 AS `200`, r.3 AS `404`, r.4 AS `500`",
        ),
      )
      .withTransformation({ id: 'organize', options: { excludeByName: { r: true } } })
      .gridPos({ x: 12, y: 25, w: 6, h: 8 }),
    new piechart.PanelBuilder()
      .title('Concentration')
      .pieType(piechart.PieChartType.Donut)
      .legend(
        new piechart.PieChartLegendOptionsBuilder()
          .showLegend(true)
          .displayMode(common.LegendDisplayMode.Table)
          .placement(common.LegendPlacement.Right)
          .values([piechart.PieChartLegendValues.Percent]),
      )
      .reduceOptions(new common.ReduceDataOptionsBuilder().values(true).calcs([]).fields(''))
      .withTarget(
        sql(
          'A',
          "SELECT arrayJoin([('Sakura Sushi', 420), ('Thai Palace', 310), ('Tony\\'s Pizza', 290)]) AS r, r.1 AS restaurant, r.2 AS views",
        ),
      )
      .withTransformation({ id: 'organize', options: { excludeByName: { r: true } } })
      .gridPos({ x: 18, y: 25, w: 6, h: 8 }),
    new text.PanelBuilder()
      .title('How to read this')
      .mode(text.TextMode.Markdown)
      .content(
        '### Sample of $route\n\nEverything here is **made up**. See the [list](/).\n\n| colour | means |\n|---|---|\n| green | within the objective |\n| red | not |',
      )
      .gridPos({ x: 0, y: 29, w: 6, h: 8 }),
    plain('alertlist', 'Alerts', { x: 6, y: 29, w: 6, h: 8 }),
  ];
}

function evidencePanels(): PanelBuilder[] {
  const lines = `SELECT fromUnixTimestamp64Milli(toInt64(toUInt32($__toTime)) * 1000 - number * 7919) AS timestamp, ['Listed 5 menu items', 'Failed to list menu items', 'Menu item ID <b>9</b> does not exist'][number % 3 + 1] AS body, ['INFO', 'ERROR', 'WARN'][number % 3 + 1] AS level, map('path', '/api/menu', 'status_code', ['200', '500', '404'][number % 3 + 1]) AS labels, lower(hex(MD5(toString(number)))) AS traceID FROM numbers(40) LIMIT 40`;
  const spans = `SELECT 'a1b2' AS traceID, r.1 AS spanID, r.2 AS parentSpanID, r.3 AS serviceName, r.4 AS operationName, fromUnixTimestamp64Micro(toInt64(toUInt32($__toTime)) * 1000000 + r.5) AS startTime, r.6 AS duration, [map('key', 'http.route', 'value', r.4)] AS tags, r.7 AS statusCode FROM (SELECT arrayJoin([('1', '', 'gateway', 'GET /api/menu', 0, 48.2, 'Unset'), ('2', '1', 'menu', 'list_items', 3000, 41.0, 'Error'), ('3', '2', 'menu', 'SELECT items', 6000, 12.5, 'Unset'), ('4', '2', 'menu', 'render', 21000, 19.3, 'Unset')]) AS r)`;
  return [
    new logs.PanelBuilder()
      .title('Log lines')
      .showTime(true)
      .wrapLogMessage(true)
      .enableLogDetails(true)
      .sortOrder(common.LogsSortOrder.Descending)
      .overrideByName('traceID', [
        { id: 'links', value: [{ title: 'Trace', url: '/d/service?var-trace_id=${__value.raw}' }] },
      ])
      .withTarget(sql('A', lines, FORMAT.logs))
      .gridPos({ x: 0, y: 38, w: 12, h: 10 }),
    plain('geomap', 'Not known', { x: 12, y: 38, w: 6, h: 10 }),
    new stat.PanelBuilder()
      .title('Broken query')
      .withTarget(sql('A', 'SELECT nothing FROM nowhere'))
      .gridPos({ x: 18, y: 38, w: 6, h: 10 }),
    plain('traces', 'One trace', { x: 0, y: 48, w: 24, h: 8 }).withTarget(sql('A', spans, FORMAT.traces)),
  ];
}

/** A panel of a type that the SDK has no builder for. */
function plain(
  type: string,
  title: string,
  gridPos: { x: number; y: number; w: number; h: number },
): dashboard.PanelBuilder {
  return new dashboard.PanelBuilder().type(type).title(title).gridPos(gridPos);
}

/** The sample board's JSON. */
export function sampleBoard(): object {
  const builder = new dashboard.DashboardBuilder('Sample of every panel')
    .uid('sample')
    .description('Shows that the preview draws; all numbers are made up.')
    .tags(['sample'])
    .timezone('utc')
    .time({ from: 'now-6h', to: 'now' })
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .readonly()
    .withVariable(new dashboard.DatasourceVariableBuilder('datasource').label('Data Source').type('prometheus'))
    .withVariable(
      new dashboard.DatasourceVariableBuilder('ch').label('ClickHouse').type('grafana-clickhouse-datasource'),
    )
    .withVariable(
      new dashboard.QueryVariableBuilder('route')
        .label('Route')
        .datasource({ type: 'grafana-clickhouse-datasource', uid: '${ch}' })
        .query("SELECT arrayJoin(['list', 'item']) AS route ORDER BY route")
        .multi(true)
        .includeAll(true)
        .refresh(dashboard.VariableRefresh.OnTimeRangeChanged),
    )
    .withVariable(new dashboard.TextBoxVariableBuilder('order_rate').label('Order rate %').defaultValue('3'))
    .annotation(
      new dashboard.AnnotationQueryBuilder()
        .name('Restarts')
        .enable(true)
        .iconColor('purple')
        .datasource({ type: 'grafana-clickhouse-datasource', uid: '${ch}' })
        .target(
          sql(
            'Anno',
            "SELECT toDateTime(toUInt32($__toTime) - 7200) AS time, NULL AS timeEnd, 'restart of menu' AS text, 'restart' AS tags UNION ALL SELECT toDateTime(toUInt32($__toTime) - 14400), toDateTime(toUInt32($__toTime) - 12600), 'outage', 'incident'",
          ),
        ),
    )
    .link(
      new dashboard.DashboardLinkBuilder('SLO')
        .type(dashboard.DashboardLinkType.Link)
        .url('/d/slo')
        .keepTime(true)
        .includeVars(true),
    );
  for (const panel of [...valuePanels(), ...timePanels(), ...listPanels()]) {
    builder.withPanel(panel);
  }
  const row = new dashboard.RowBuilder('Evidence').gridPos({ x: 0, y: 37, w: 24, h: 1 });
  builder.withRow(row);
  for (const panel of evidencePanels()) {
    builder.withPanel(panel);
  }
  return numbered(builder.build());
}

/** The SDK leaves ids to Grafana; a file needs them, unique, rows too. */
function numbered(board: dashboard.Dashboard): object {
  const panels = (board.panels ?? []).map((panel, index) => ({ ...panel, id: index + 1 }));
  return { ...board, panels };
}
