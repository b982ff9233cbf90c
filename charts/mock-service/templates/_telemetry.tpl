{{/* The standard variables of OpenTelemetry: (list $ endpoint protocol). */}}
{{- define "mock.telemetry" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ index . 1 | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {{ index . 2 }}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ (index . 0).Release.Namespace }},k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME),service.instance.id=$(POD_NAME)
{{- end }}
