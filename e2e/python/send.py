"""Sends logs, spans and metric points with the unmodified OpenTelemetry SDK, over gRPC or HTTP.

Prints one JSON object: how many of each signal the SDK was asked to export. Exits with 1 when a flush fails.
"""

import argparse
import json
import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode


def exporters(protocol, endpoint, compression):
    if protocol == "grpc":
        import grpc
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        options = {
            "endpoint": endpoint,
            "insecure": True,
            "compression": grpc.Compression.Gzip if compression else grpc.Compression.NoCompression,
        }
        return OTLPLogExporter(**options), OTLPSpanExporter(**options), OTLPMetricExporter(**options)

    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def options(path):
        return {
            "endpoint": f"{endpoint}/v1/{path}",
            "compression": Compression.Gzip if compression else Compression.NoCompression,
        }

    return OTLPLogExporter(**options("logs")), OTLPSpanExporter(**options("traces")), OTLPMetricExporter(**options("metrics"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=["grpc", "http"], required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--gzip", action="store_true")
    arguments = parser.parse_args()

    logs, spans, metrics = exporters(arguments.protocol, arguments.endpoint, arguments.gzip)
    resource = Resource.create({"service.name": arguments.service, "deployment.environment.name": "test"})

    logger_provider = LoggerProvider(resource=resource)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(logs))
    handler = LoggingHandler(level=logging.INFO, logger_provider=logger_provider)
    logger = logging.getLogger(arguments.service)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)

    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(spans))
    tracer = tracer_provider.get_tracer("menu", "1.0")

    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
    meter_provider = MeterProvider(resource=resource, metric_readers=[reader])
    views = meter_provider.get_meter("menu", "1.0").create_counter("menu.views", unit="1")

    for number in range(arguments.count):
        with tracer.start_as_current_span("view item", attributes={"menu.item": number}) as span:
            logger.warning("item %d viewed", number, extra={"menu.item": number})
            if number % 10 == 0:
                span.set_status(Status(StatusCode.ERROR, "sold out"))
                span.add_event("refused", {"reason": "sold out"})
        views.add(1, {"menu.item": number % 10})

    flushed = [logger_provider.force_flush(), tracer_provider.force_flush(), meter_provider.force_flush()]
    print(json.dumps({"logs": arguments.count, "spans": arguments.count, "views": arguments.count, "series": min(10, arguments.count)}))
    logger_provider.shutdown()
    tracer_provider.shutdown()
    meter_provider.shutdown(timeout_millis=1000)
    return 0 if all(flushed) else 1


if __name__ == "__main__":
    sys.exit(main())
