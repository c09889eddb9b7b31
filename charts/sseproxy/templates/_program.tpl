{{/* What a container that runs the program is given: its files, environment and security context. */}}

{{/*
Files, a list: each is one key of a Secret or a ConfigMap, mounted in a folder of its own below /etc/sseproxy.
*/}}
{{- define "sseproxy.files" -}}
{{- $made := include "sseproxy.fullname" . -}}
{{- with .Values.keyring }}{{ if .secret }}
- {name: keyring, variable: SSEPROXY_KEYRING, secret: {{ .secret | quote }}, key: {{ .key | quote }}, file: keyring.json}
{{- end }}{{ end }}
{{- with .Values.identities }}{{ if .secret }}
- {name: identities, variable: SSEPROXY_IDENTITIES, secret: {{ .secret | quote }}, key: {{ .key | quote }}, file: identities.json}
{{- end }}{{ end }}
{{- with .Values.policy }}{{ if or .configMap .inline }}
- {name: policy, variable: SSEPROXY_POLICY, configMap: {{ default $made .configMap | quote }}, key: {{ .key | quote }}, file: policy.cedar}
{{- end }}{{ end }}
{{- with .Values.encryption }}{{ if or .configMap .inline }}
- {name: encryption, variable: SSEPROXY_ENCRYPTION, configMap: {{ default $made .configMap | quote }}, key: {{ .key | quote }}, file: encryption.json}
{{- end }}{{ end }}
{{- with .Values.upstreamCa }}{{ if .configMap }}
- {name: upstream-ca, variable: SSEPROXY_UPSTREAM_CA, configMap: {{ .configMap | quote }}, key: {{ .key | quote }}, file: ca.crt}
{{- end }}{{ end }}
{{- with .Values.vaultCa }}{{ if .configMap }}
- {name: vault-ca, variable: SSEPROXY_VAULT_CA, configMap: {{ .configMap | quote }}, key: {{ .key | quote }}, file: ca.crt}
{{- end }}{{ end }}
{{- with .Values.vaultSecret }}{{ if .secret }}
- {name: vault-secret, variable: SSEPROXY_VAULT_SECRET_FILE, secret: {{ .secret | quote }}, key: {{ .key | quote }}, file: secret}
{{- end }}{{ end }}
{{- end -}}

{{/* Volumes of the files. They belong to root, and to the pod's fsGroup if it has one. */}}
{{- define "sseproxy.fileVolumes" -}}
{{- range include "sseproxy.files" . | fromYamlArray }}
- name: sseproxy-{{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret | quote }}
  {{- else }}
  configMap:
    name: {{ .configMap | quote }}
  {{- end }}
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: {{ .file }}}]
{{- end }}
{{- end -}}

{{- define "sseproxy.fileMounts" -}}
{{- range include "sseproxy.files" . | fromYamlArray }}
- {name: sseproxy-{{ .name }}, mountPath: /etc/sseproxy/{{ .name }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* The environment but for what differs between gateway and sidecar. */}}
{{- define "sseproxy.env" -}}
{{- range $name, $value := .Values.config }}
{{- if $value }}
- name: SSEPROXY_{{ $name | snakecase | upper }}
  {{- if kindIs "bool" $value }}
  value: "on"
  {{- else if kindIs "slice" $value }}
  value: {{ join "," $value | quote }}
  {{- else if kindIs "string" $value }}
  value: {{ $value | quote }}
  {{- else }}
  value: {{ $value | int64 | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- range include "sseproxy.files" . | fromYamlArray }}
- {name: {{ .variable }}, value: /etc/sseproxy/{{ .name }}/{{ .file }}}
{{- end }}
{{- with .Values.client }}{{ if .secret }}
- name: SSEPROXY_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .accessKeyIdKey | quote }}}}
- name: SSEPROXY_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .secretAccessKeyKey | quote }}}}
{{- end }}{{ end }}
{{- with .Values.upstreamCredentials }}{{ if .secret }}
- name: SSEPROXY_UPSTREAM_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .accessKeyIdKey | quote }}}}
- name: SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .secretAccessKeyKey | quote }}}}
{{- end }}{{ end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The environment of a gateway, and of gc beside it. */}}
{{- define "sseproxy.gatewayEnv" -}}
- {name: SSEPROXY_LISTEN, value: ":{{ .Values.ports.s3 }}"}
- {name: SSEPROXY_ADMIN_LISTEN, value: ":{{ .Values.ports.admin }}"}
{{- if include "sseproxy.tlsSecret" . }}
- {name: SSEPROXY_TLS_CERT, value: /etc/sseproxy/tls/tls.crt}
- {name: SSEPROXY_TLS_KEY, value: /etc/sseproxy/tls/tls.key}
{{- end }}
{{- include "sseproxy.env" . }}
{{- end -}}

{{- define "sseproxy.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end -}}

{{- define "sseproxy.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Mounts and volumes of a gateway, and of gc beside it. */}}
{{- define "sseproxy.gatewayMounts" -}}
{{- include "sseproxy.fileMounts" . }}
{{- if include "sseproxy.tlsSecret" . }}
- {name: sseproxy-tls, mountPath: /etc/sseproxy/tls, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sseproxy.gatewayVolumes" -}}
{{- include "sseproxy.fileVolumes" . }}
{{- with include "sseproxy.tlsSecret" . }}
- name: sseproxy-tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sseproxy.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The files whose text is in the values, as a ConfigMap's data. */}}
{{- define "sseproxy.inline" -}}
{{- range list .Values.policy .Values.encryption }}
{{- if .inline }}
{{ .key | quote }}: {{ .inline | quote }}
{{- end }}
{{- end }}
{{- end -}}
