{{/* Users and rights. Every command can be run twice. */}}
{{- define "topics.access" -}}
set -eu
export RPK_USER={{ .Values.access.username | quote }} RPK_PASS="$ADMIN_PASSWORD" RPK_SASL_MECHANISM={{ .Values.kafka.sasl.mechanism }}
export RPK_BROKERS={{ join "," .Values.kafka.brokers | quote }} RPK_ADMIN_HOSTS={{ .Values.access.adminApi | quote }}
{{- if .Values.kafka.tls.enabled }}
export RPK_TLS_ENABLED=true{{ if .Values.kafka.tls.caSecret }} RPK_TLS_CA=/tls/kafka/ca.crt{{ end }}
{{- end }}
{{- if .Values.access.adminTls }}
export RPK_ADMIN_TLS_ENABLED=true{{ if .Values.kafka.tls.caSecret }} RPK_ADMIN_TLS_CA=/tls/kafka/ca.crt{{ end }}
{{- end }}
{{- range .Values.access.users }}
rpk security user create {{ .name }} --password "$(cat /users/{{ .name }})" --mechanism {{ $.Values.kafka.sasl.mechanism }} ||
  rpk security user update {{ .name }} --new-password "$(cat /users/{{ .name }})" --mechanism {{ $.Values.kafka.sasl.mechanism }}
{{- if .topics }}
rpk security acl create --allow-principal User:{{ .name }} --topic {{ .topics }} --resource-pattern-type prefixed --operation {{ join "," .topicRights }}
{{- end }}
{{- if .groups }}
rpk security acl create --allow-principal User:{{ .name }} --group {{ .groups }} --resource-pattern-type prefixed --operation {{ join "," .groupRights }}
{{- end }}
{{- if .clusterRights }}
rpk security acl create --allow-principal User:{{ .name }} --cluster --operation {{ join "," .clusterRights }}
{{- end }}
{{- end }}
{{- end }}
