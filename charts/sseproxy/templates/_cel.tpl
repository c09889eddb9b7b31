{{/*
A value as an expression of CEL. Each member is dyn: Kubernetes' CEL takes no literal whose members differ in type otherwise.
*/}}
{{- define "sseproxy.cel" -}}
{{- $parts := list -}}
{{- if kindIs "map" . -}}
{{- range $name, $value := . -}}
{{- $parts = append $parts (printf "%s: dyn(%s)" (toJson $name) (include "sseproxy.cel" $value)) -}}
{{- end -}}
{ {{- join ", " $parts -}} }
{{- else if kindIs "slice" . -}}
{{- range . -}}
{{- $parts = append $parts (printf "dyn(%s)" (include "sseproxy.cel" .)) -}}
{{- end -}}
[{{ join ", " $parts }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
