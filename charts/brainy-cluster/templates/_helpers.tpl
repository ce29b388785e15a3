{{- define "brainy-cluster.name" -}}
{{- default .Release.Name .Values.name }}
{{- end }}

{{- define "brainy-cluster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: brainy
app.kubernetes.io/instance: {{ include "brainy-cluster.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Names of the Secrets that the operator reads for this cluster, as a JSON list. Pull secrets are read by the node. */}}
{{- define "brainy-cluster.secrets" -}}
{{- $names := list }}
{{- range list (dig "storage" "credentials" "secretRef" "name" "" .Values.spec) (dig "apiKeys" "secretRef" "name" "" .Values.spec) (dig "tls" "secretRef" "name" "" .Values.spec) }}
{{- if . }}
{{- $names = append $names . }}
{{- end }}
{{- end }}
{{- $names | uniq | toJson }}
{{- end }}
