{{/*
The sidecar, for the admission policy and for charts that have this one as a dependency: these call the templates with
.Subcharts.sseproxy, and put the result into a pod.
*/}}

{{/* The native sidecar: the first of the pod's initContainers. */}}
{{- define "sseproxy.sidecar.container" -}}
{{- include "sseproxy.validate" . -}}
name: sseproxy
image: {{ include "sseproxy.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
restartPolicy: Always
args: [serve]
env:
  - {name: SSEPROXY_LISTEN, value: "127.0.0.1:{{ .Values.ports.s3 }}"}
  - {name: SSEPROXY_ADMIN_LISTEN, value: ":{{ .Values.ports.admin }}"}
  - {name: SSEPROXY_CREDENTIALS_LISTEN, value: "127.0.0.1:{{ .Values.ports.credentials }}"}
  - {name: SSEPROXY_CREDENTIALS_TOKEN_FILE, value: /run/sseproxy/token}
  {{- include "sseproxy.env" . | trim | nindent 2 }}
ports:
  - {name: sseproxy-admin, containerPort: {{ .Values.ports.admin }}}
# Ready once: the app starts when its first request would succeed. A store that is away later is the app's to notice.
startupProbe:
  httpGet: {path: /readyz, port: {{ .Values.ports.admin }}}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /livez, port: {{ .Values.ports.admin }}}
resources: {{- toYaml .Values.resources | nindent 2 }}
# The pod is the app's and may have no fsGroup; group 0 reads the files then.
securityContext:
  {{- include "sseproxy.containerSecurityContext" . | nindent 2 }}
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 0
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: sseproxy-run, mountPath: /run/sseproxy}
  {{- with include "sseproxy.fileMounts" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Volumes of the pod, a list. */}}
{{- define "sseproxy.sidecar.volumes" -}}
- name: sseproxy-run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- include "sseproxy.fileVolumes" . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Environment of the app's containers, a list. */}}
{{- define "sseproxy.sidecar.env" -}}
- {name: AWS_ENDPOINT_URL_S3, value: "http://127.0.0.1:{{ .Values.ports.s3 }}"}
- {name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: "http://127.0.0.1:{{ .Values.ports.credentials }}/credentials"}
- {name: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, value: /run/sseproxy/token}
- {name: AWS_REGION, value: {{ default "us-east-1" .Values.config.region | quote }}}
{{- end -}}

{{/* Mounts of the app's containers, a list. */}}
{{- define "sseproxy.sidecar.volumeMounts" -}}
- {name: sseproxy-run, mountPath: /run/sseproxy, readOnly: true}
{{- end -}}
