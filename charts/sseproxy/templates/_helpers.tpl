{{- define "sseproxy.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sseproxy.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sseproxy.labels" -}}
{{ include "sseproxy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "sseproxy.image" -}}
{{- .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "sseproxy.serviceAccountName" -}}
{{- default (ternary (include "sseproxy.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "sseproxy.tlsSecret" -}}
{{- if or .Values.tls.secret .Values.tls.certManager.enabled -}}
{{- default (printf "%s-tls" (include "sseproxy.fullname" .)) .Values.tls.secret -}}
{{- end -}}
{{- end -}}

{{- define "sseproxy.servicePort" -}}
{{- default (ternary 443 80 (not (empty (include "sseproxy.tlsSecret" .)))) .Values.service.port -}}
{{- end -}}

{{/* true if a gateway's pod needs its service account's token. */}}
{{- define "sseproxy.needsToken" -}}
{{- and (eq .Values.config.keyProvider "vault") (eq .Values.config.vaultAuth "kubernetes") (empty .Values.vaultSecret.secret) -}}
{{- end -}}
