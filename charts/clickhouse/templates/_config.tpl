{{/* Configuration files of the server. Secrets come from the environment. */}}
{{- define "clickhouse.platform" -}}
{{- $name := include "common.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
<clickhouse>
    <logger>
        <level>information</level>
        <console>1</console>
        <log remove="1"/>
        <errorlog remove="1"/>
    </logger>
    <listen_host replace="1">0.0.0.0</listen_host>
    {{- if .Values.tls.enabled }}
    <http_port remove="1"/>
    <tcp_port remove="1"/>
    <mysql_port remove="1"/>
    <postgresql_port remove="1"/>
    <interserver_http_port remove="1"/>
    <https_port>8443</https_port>
    <tcp_port_secure>9440</tcp_port_secure>
    <interserver_https_port>9010</interserver_https_port>
    <openSSL>
        <server>
            <certificateFile>/tls/tls.crt</certificateFile>
            <privateKeyFile>/tls/tls.key</privateKeyFile>
            <caConfig>/tls/ca.crt</caConfig>
            <verificationMode>none</verificationMode>
            <disableProtocols>sslv2,sslv3,tlsv1,tlsv1_1</disableProtocols>
        </server>
        <client>
            <caConfig>/tls/ca.crt</caConfig>
            <loadDefaultCAFile>true</loadDefaultCAFile>
            <verificationMode>relaxed</verificationMode>
            <disableProtocols>sslv2,sslv3,tlsv1,tlsv1_1</disableProtocols>
        </client>
    </openSSL>
    {{- else }}
    <http_port>8123</http_port>
    <tcp_port>9000</tcp_port>
    <mysql_port remove="1"/>
    <postgresql_port remove="1"/>
    <interserver_http_port>9009</interserver_http_port>
    {{- end }}
    <prometheus>
        <endpoint>/metrics</endpoint>
        <port>9363</port>
        <metrics>true</metrics>
        <events>true</events>
        <asynchronous_metrics>true</asynchronous_metrics>
    </prometheus>
    <max_server_memory_usage_to_ram_ratio>{{ .Values.memoryRatio }}</max_server_memory_usage_to_ram_ratio>
    <mark_cache_size>{{ int64 .Values.markCacheBytes }}</mark_cache_size>
    <max_concurrent_queries>{{ .Values.maxConcurrentQueries }}</max_concurrent_queries>
    <macros>
        <shard from_env="SHARD"/>
        <replica from_env="POD_NAME"/>
    </macros>
    <storage_configuration>
        <disks>
            <default>
                <keep_free_space_bytes>{{ int64 .Values.keepFreeBytes }}</keep_free_space_bytes>
            </default>
            {{- if .Values.cold.enabled }}
            <cold_s3>
                <type>s3</type>
                <endpoint from_env="S3_COLD_URL"/>
                {{- if .Values.cold.secret }}
                <access_key_id from_env="S3_ACCESS_KEY"/>
                <secret_access_key from_env="S3_SECRET_KEY"/>
                {{- else }}
                <use_environment_credentials>true</use_environment_credentials>
                {{- end }}
                <metadata_path>/var/lib/clickhouse/disks/cold_s3/</metadata_path>
            </cold_s3>
            <cold>
                <type>cache</type>
                <disk>cold_s3</disk>
                <path>/var/lib/clickhouse/disks/cold_cache/</path>
                <max_size>{{ .Values.cold.cacheSize }}</max_size>
            </cold>
            {{- end }}
        </disks>
        <policies>
            <hot_cold>
                <volumes>
                    <hot>
                        <disk>default</disk>
                    </hot>
                    {{- if .Values.cold.enabled }}
                    <cold>
                        <disk>cold</disk>
                        <!-- A late row goes to the hot disk first, or the object store would fill with small parts. -->
                        <perform_ttl_move_on_insert>0</perform_ttl_move_on_insert>
                    </cold>
                    {{- end }}
                </volumes>
                <move_factor>{{ .Values.cold.moveFactor }}</move_factor>
            </hot_cold>
        </policies>
    </storage_configuration>
    <remote_servers replace="1">
        <{{ .Values.cluster }}>
            {{- range $shard := until (int .Values.shards) }}
            <shard>
                <internal_replication>true</internal_replication>
                {{- range $replica := until (int $.Values.replicas) }}
                <replica>
                    <host>{{ $name }}-{{ $shard }}-{{ $replica }}.{{ $name }}-headless.{{ $namespace }}.svc</host>
                    <port>{{ if $.Values.tls.enabled }}9440{{ else }}9000{{ end }}</port>
                    {{- if $.Values.tls.enabled }}
                    <secure>1</secure>
                    {{- end }}
                    <user>hub</user>
                    <password from_env="CLICKHOUSE_PASSWORD_HUB"/>
                </replica>
                {{- end }}
            </shard>
            {{- end }}
        </{{ .Values.cluster }}>
    </remote_servers>
    {{- if .Values.keeper.enabled }}
    <zookeeper>
        {{- range $member := untilStep 1 (add1 (int .Values.keeper.replicas) | int) 1 }}
        <node>
            <host>{{ $name }}-keeper-{{ $member }}.{{ $name }}-keeper.{{ $namespace }}.svc</host>
            <port>{{ if $.Values.tls.enabled }}9281{{ else }}9181{{ end }}</port>
            {{- if $.Values.tls.enabled }}
            <secure>1</secure>
            {{- end }}
        </node>
        {{- end }}
    </zookeeper>
    <distributed_ddl>
        <path>/clickhouse/task_queue/ddl</path>
    </distributed_ddl>
    <interserver_http_credentials>
        <user>interserver</user>
        <password from_env="CLICKHOUSE_PASSWORD_HUB"/>
    </interserver_http_credentials>
    {{- end }}
    <!-- The server's own tables would fill a small disk. -->
    {{- range list "query_log" "part_log" "trace_log" "error_log" "processors_profile_log" "query_views_log" "asynchronous_insert_log" "backup_log" "blob_storage_log" "query_metric_log" "latency_log" }}
    <{{ . }}>
        <database>system</database>
        <table>{{ . }}</table>
        <partition_by>event_date</partition_by>
        <ttl>event_date + INTERVAL {{ $.Values.systemTableDays }} DAY DELETE</ttl>
        <flush_interval_milliseconds>7500</flush_interval_milliseconds>
    </{{ . }}>
    {{- end }}
    <text_log remove="1"/>
    <metric_log remove="1"/>
    <asynchronous_metric_log remove="1"/>
    <session_log remove="1"/>
    <opentelemetry_span_log remove="1"/>
</clickhouse>
{{- end }}

{{- define "clickhouse.users" -}}
<clickhouse>
    <profiles>
        <grafana>
            <!-- Reading only, and no setting of a query may lift these bounds. -->
            <readonly>2</readonly>
            <max_execution_time>{{ .Values.users.grafanaMaxSeconds }}</max_execution_time>
            <max_memory_usage>{{ int64 .Values.users.grafanaMaxMemory }}</max_memory_usage>
            <constraints>
                <max_execution_time><max>{{ .Values.users.grafanaMaxSeconds }}</max></max_execution_time>
                <max_memory_usage><max>{{ int64 .Values.users.grafanaMaxMemory }}</max></max_memory_usage>
            </constraints>
        </grafana>
    </profiles>
    <users>
        <default replace="1">
            <password/>
            <networks>
                <ip>127.0.0.1</ip>
                <ip>::1</ip>
            </networks>
            <profile>default</profile>
            <quota>default</quota>
        </default>
        <hub>
            <password from_env="CLICKHOUSE_PASSWORD_HUB"/>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT ALL ON {{ .Values.database }}.*</query>
                <query>GRANT SELECT ON system.*</query>
                <query>GRANT CREATE DATABASE ON {{ .Values.database }}.*</query>
                <query>GRANT CLUSTER, REMOTE ON *.*</query>
                <query>GRANT TABLE ENGINE ON *</query>
                <query>GRANT SYSTEM RELOAD DICTIONARY ON *.*</query>
            </grants>
        </hub>
        <grafana>
            <password from_env="CLICKHOUSE_PASSWORD_GRAFANA"/>
            <networks><ip>::/0</ip></networks>
            <profile>grafana</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT SELECT, dictGet ON {{ .Values.database }}.*</query>
                <query>GRANT SELECT ON system.*</query>
            </grants>
        </grafana>
    </users>
</clickhouse>
{{- end }}

{{- define "clickhouse.keeper" -}}
{{- $name := include "common.fullname" . -}}
<clickhouse>
    <logger>
        <level>information</level>
        <console>1</console>
    </logger>
    <listen_host>0.0.0.0</listen_host>
    <keeper_server>
        {{- if .Values.tls.enabled }}
        <tcp_port_secure>9281</tcp_port_secure>
        {{- else }}
        <tcp_port>9181</tcp_port>
        {{- end }}
        <server_id from_env="KEEPER_SERVER_ID"/>
        <log_storage_path>/var/lib/clickhouse-keeper/log</log_storage_path>
        <snapshot_storage_path>/var/lib/clickhouse-keeper/snapshots</snapshot_storage_path>
        <coordination_settings>
            <operation_timeout_ms>10000</operation_timeout_ms>
            <session_timeout_ms>30000</session_timeout_ms>
            <raft_logs_level>warning</raft_logs_level>
        </coordination_settings>
        <http_control>
            <port>9182</port>
            <readiness><endpoint>/ready</endpoint></readiness>
        </http_control>
        <raft_configuration>
            {{- if .Values.tls.enabled }}
            <secure>true</secure>
            {{- end }}
            {{- range $member := untilStep 1 (add1 (int .Values.keeper.replicas) | int) 1 }}
            <server>
                <id>{{ $member }}</id>
                <hostname>{{ $name }}-keeper-{{ $member }}.{{ $name }}-keeper.{{ $.Release.Namespace }}.svc</hostname>
                <port>9234</port>
            </server>
            {{- end }}
        </raft_configuration>
    </keeper_server>
    {{- if .Values.tls.enabled }}
    <openSSL>
        {{- range list "server" "client" }}
        <{{ . }}>
            <certificateFile>/tls/tls.crt</certificateFile>
            <privateKeyFile>/tls/tls.key</privateKeyFile>
            <caConfig>/tls/ca.crt</caConfig>
            <verificationMode>relaxed</verificationMode>
            <disableProtocols>sslv2,sslv3,tlsv1,tlsv1_1</disableProtocols>
        </{{ . }}>
        {{- end }}
    </openSSL>
    {{- end }}
    <prometheus>
        <endpoint>/metrics</endpoint>
        <port>9363</port>
        <metrics>true</metrics>
        <events>true</events>
        <asynchronous_metrics>true</asynchronous_metrics>
    </prometheus>
</clickhouse>
{{- end }}
