"""OpenTelemetry: one trace a planning cycle, from the tick through measurements to the device.

An event carries W3C ``traceparent``; a service's span is a child of the event that its decision
follows from and links to the event that triggered it. Without an OTLP endpoint spans are still
made, because their context travels in the envelope, but not exported.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags

from contracts.envelope import Event


class Tracing:
    """The spans of one service."""

    def __init__(self, service: str, endpoint: str = "") -> None:
        self.provider = TracerProvider(
            resource=Resource.create({"service.name": f"pems-{service}"}), shutdown_on_exit=True
        )
        if endpoint:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
            self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer("pems")

    def record(
        self, trigger: Event, events: Sequence[Event], start_ns: int, end_ns: int
    ) -> list[str]:
        """A span an event that was decided; returns the traceparent that each is to carry."""
        parents = []
        for event in events:
            parent = context_of(event.traceparent or trigger.traceparent)
            link = context_of(trigger.traceparent)
            span = self.tracer.start_span(
                f"{event.source} {event.type}",
                context=trace.set_span_in_context(NonRecordingSpan(parent)) if parent else None,
                links=[Link(link)] if link and link != parent else [],
                start_time=start_ns,
                attributes={
                    "pems.entity": event.entity,
                    "pems.event_id": event.id,
                    "pems.as_of": event.as_of,
                    "pems.cause": event.cause,
                },
            )
            span.end(end_ns)
            parents.append(traceparent_of(span.get_span_context()))
        return parents

    def shutdown(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


def traceparent_of(context: SpanContext) -> str:
    """W3C Trace Context header, version 00."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def context_of(traceparent: str) -> SpanContext | None:
    """The span that a header names, None when there is none or it is malformed."""
    parts = traceparent.split("-")
    if len(parts) != 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        context = SpanContext(
            int(parts[1], 16), int(parts[2], 16), is_remote=True,
            trace_flags=TraceFlags(int(parts[3], 16)),
        )  # fmt: skip
    except ValueError:
        return None
    return context if context.is_valid else None
