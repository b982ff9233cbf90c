{{/* Mimir's configuration. Secrets come from the environment. */}}
{{- define "mimir.limits" -}}
{{- $limits := dict
  "compactor_blocks_retention_period" .Values.retention
  "max_total_query_length" "12000h"
  "out_of_order_time_window" "12h"
  "ingestion_rate" 200000
  "ingestion_burst_size" 400000
  "max_global_series_per_user" 0
  "max_label_names_per_series" 60
  "max_global_exemplars_per_user" 100000 -}}
{{- toYaml (mergeOverwrite $limits (deepCopy .Values.limits)) -}}
{{- end }}

{{/* A client of another replica, with TLS. */}}
{{- define "mimir.client" -}}
tls_enabled: true
tls_ca_path: /tls/ca.crt
# Replicas call each other by address, and the certificate has names.
tls_server_name: {{ include "common.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "mimir.config" -}}
{{- $name := include "common.fullname" . -}}
{{- $address := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- $scheme := ternary "https" "http" .Values.tls.enabled -}}
{{- $factor := int .Values.replicationFactor -}}
target: all,alertmanager,overrides-exporter
multitenancy_enabled: true
usage_stats: {enabled: false}
server:
  http_listen_port: 8080
  grpc_listen_port: 9095
  log_level: warn
  {{- if .Values.tls.enabled }}
  http_tls_config: {cert_file: /tls/tls.crt, key_file: /tls/tls.key}
  grpc_tls_config: {cert_file: /tls/tls.crt, key_file: /tls/tls.key}
  {{- end }}
memberlist:
  # Replicas find each other by their pods' addresses.
  join_members: ["dns+{{ $name }}-gossip.{{ .Release.Namespace }}.svc:7946"]
  abort_if_cluster_join_fails: false
  {{- if .Values.tls.enabled }}
  tls_cert_path: /tls/tls.crt
  tls_key_path: /tls/tls.key
  {{- include "mimir.client" . | nindent 2 }}
  {{- end }}
common:
  storage:
    backend: s3
    s3:
      endpoint: {{ .Values.storage.endpoint }}
      bucket_name: {{ .Values.storage.bucket }}
      region: {{ .Values.storage.region }}
      insecure: {{ .Values.storage.insecure }}
      bucket_lookup_type: {{ ternary "path" "auto" .Values.storage.pathStyle }}
      {{- if .Values.storage.secret }}
      access_key_id: ${S3_ACCESS_KEY}
      secret_access_key: ${S3_SECRET_KEY}
      {{- end }}
blocks_storage:
  storage_prefix: blocks
  tsdb: {dir: /data/tsdb}
  bucket_store: {sync_dir: /data/tsdb-sync}
compactor:
  data_dir: /data/compactor
ingester:
  ring: {replication_factor: {{ $factor }}}
store_gateway:
  sharding_ring: {replication_factor: {{ $factor }}}
ruler:
  rule_path: /data/ruler
  alertmanager_url: {{ $scheme }}://{{ $address }}:8080/alertmanager
  {{- if .Values.tls.enabled }}
  alertmanager_client: {tls_enabled: true, tls_ca_path: /tls/ca.crt}
  {{- end }}
  poll_interval: 30s
  evaluation_interval: 15s
ruler_storage:
  backend: local
  local: {directory: /etc/mimir-rules}
alertmanager:
  data_dir: /data/alertmanager
  external_url: {{ $scheme }}://{{ $address }}:8080/alertmanager
  fallback_config_file: /etc/mimir/alertmanager.yaml
  sharding_ring: {replication_factor: {{ $factor }}}
  {{- if .Values.tls.enabled }}
  alertmanager_client: {{ include "mimir.client" . | nindent 4 }}
  {{- end }}
alertmanager_storage:
  storage_prefix: alertmanager
{{- if .Values.tls.enabled }}
ingester_client:
  grpc_client_config: {{ include "mimir.client" . | nindent 4 }}
frontend:
  grpc_client_config: {{ include "mimir.client" . | nindent 4 }}
frontend_worker:
  grpc_client_config: {{ include "mimir.client" . | nindent 4 }}
query_scheduler:
  grpc_client_config: {{ include "mimir.client" . | nindent 4 }}
querier:
  store_gateway_client: {{ include "mimir.client" . | nindent 4 }}
{{- end }}
activity_tracker: {filepath: /data/activity.log}
limits: {{ include "mimir.limits" . | nindent 2 }}
{{- end }}
