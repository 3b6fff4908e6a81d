{{- define "tidewire.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tidewire.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidewire.labels" -}}
{{ include "tidewire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* What would not work is refused before anything is created. */}}
{{- define "tidewire.check" -}}
{{- $v := .Values }}
{{- if not (or $v.app.existingSecret $v.config.existingSecret) }}
{{- fail "no app: set app.existingSecret to a Secret with the keys id, key and secret, or config.existingSecret to one with apps.toml" }}
{{- end }}
{{- if not $v.admin.existingSecret }}
{{- fail "no admin.existingSecret: metrics and the console are reached from outside the pod, which takes a token. Set it to a Secret with the key token" }}
{{- end }}
{{- $clustered := or $v.redis.url $v.redis.existingSecret $v.settings.redis }}
{{- if and (or (gt (int $v.replicaCount) 1) $v.autoscaling.enabled) (not $clustered) }}
{{- fail "several pods without Redis would be several servers that do not know each other: set redis.url or redis.existingSecret, or replicaCount to 1" }}
{{- end }}
{{- if and $v.redis.url (regexMatch "@" $v.redis.url) }}
{{- fail "redis.url has a password in it: put the URL into a Secret, and set redis.existingSecret" }}
{{- end }}
{{- end }}
