{{/*
Names. Release names have up to 53 characters and objects up to 63, so that a suffix of up to 9 fits behind any release name.
*/}}
{{- define "brainy-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "brainy-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The full name with a suffix: (list . "metrics") */}}
{{- define "brainy-operator.suffixed" -}}
{{- $suffix := index . 1 }}
{{- $room := sub 62 (len $suffix) | int }}
{{- printf "%s-%s" (include "brainy-operator.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix }}
{{- end }}

{{- define "brainy-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "brainy-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "brainy-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "brainy-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "brainy-operator.labels" -}}
{{ include "brainy-operator.sharedLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Without the component, for what the operator's selector must not find. */}}
{{- define "brainy-operator.sharedLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "brainy-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: brainy
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image by its digest, or else by its tag: (list . .Values.image) */}}
{{- define "brainy-operator.image" -}}
{{- $image := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default (index . 0).Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/* The fixed part of who a pod of this chart runs as: the restricted Pod Security Standard. */}}
{{- define "brainy-operator.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- range $key, $value := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }}: {{ int64 $value }}
{{- end }}
{{- end }}
{{- end }}

{{- define "brainy-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{/* Namespaces in which the operator may read Secrets, as a JSON list. */}}
{{- define "brainy-operator.secretNamespaces" -}}
{{- if .Values.secrets.namespaces }}
{{- .Values.secrets.namespaces | uniq | toJson }}
{{- else }}
{{- concat (list .Release.Namespace) .Values.scope.namespaces | uniq | toJson }}
{{- end }}
{{- end }}
