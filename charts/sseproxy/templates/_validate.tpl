{{/* Refuses values with which the program would not start, or would start with less protection than it seems. Every problem in one message. */}}
{{- define "sseproxy.validate" -}}
{{- $v := .Values -}}
{{- $c := $v.config -}}
{{- $provider := default "local" $c.keyProvider -}}
{{- $vaultAuth := default "token" $c.vaultAuth -}}
{{- $problems := list -}}
{{- if not $c.upstream -}}
{{- $problems = append $problems "config.upstream is required: the store's endpoint, such as https://s3.eu-central-1.amazonaws.com" -}}
{{- end -}}
{{- if and $v.client.secret $v.identities.secret -}}
{{- $problems = append $problems "client.secret and identities.secret: only one of the two says who the clients are" -}}
{{- end -}}
{{- if and (eq $v.mode "gateway") (not (or $v.client.secret $v.identities.secret)) -}}
{{- $problems = append $problems "client.secret or identities.secret is required: the Secret that says who the clients are" -}}
{{- end -}}
{{- if and (eq $provider "local") (not $v.keyring.secret) -}}
{{- $problems = append $problems "keyring.secret is required: the Secret with the keyring file, made by \"sseproxy keys create\"; or set config.keyProvider to awskms or vault" -}}
{{- end -}}
{{- if and (ne $provider "local") $v.keyring.secret -}}
{{- $problems = append $problems "keyring.secret is for config.keyProvider local" -}}
{{- end -}}
{{- if and (ne $provider "local") (not $c.key) -}}
{{- $problems = append $problems (printf "config.key is required for config.keyProvider %s: the id of the key for new objects" $provider) -}}
{{- end -}}
{{- if eq $provider "vault" -}}
{{- if not $c.vaultAddr -}}
{{- $problems = append $problems "config.vaultAddr is required: the address of Vault or OpenBao" -}}
{{- end -}}
{{- if and (ne $vaultAuth "token") (not $c.vaultRole) -}}
{{- $problems = append $problems (printf "config.vaultRole is required for config.vaultAuth %s" $vaultAuth) -}}
{{- end -}}
{{- if and (ne $vaultAuth "kubernetes") (not $v.vaultSecret.secret) -}}
{{- $problems = append $problems (printf "vaultSecret.secret is required for config.vaultAuth %s" $vaultAuth) -}}
{{- end -}}
{{- end -}}
{{- if and $c.auditRequired (has (default "off" $c.audit) (list "off")) -}}
{{- $problems = append $problems "config.auditRequired needs config.audit: stdout or a file" -}}
{{- end -}}
{{- range $name := list "policy" "encryption" -}}
{{- $file := index $v $name -}}
{{- if and $file.configMap $file.inline -}}
{{- $problems = append $problems (printf "%s.configMap and %s.inline: only one of the two" $name $name) -}}
{{- end -}}
{{- if and $file.inline (ne $v.mode "gateway") -}}
{{- $problems = append $problems (printf "%s.inline is for mode gateway: the pods of a sidecar are in other namespaces; use %s.configMap" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef) -}}
{{- $problems = append $problems "tls.certManager.issuerRef is required" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- $problems = append $problems "ingress.hosts is required: a host that clients use" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- $problems = append $problems "httpRoute.parentRefs is required: the Gateway that the route belongs to" -}}
{{- end -}}
{{- if and (eq $v.mode "sidecar") (not $v.sidecar.podLabels) -}}
{{- $problems = append $problems "sidecar.podLabels is required: without a label every pod would get a sidecar" -}}
{{- end -}}
{{- if and $v.gc.buckets (ne $v.mode "gateway") -}}
{{- $problems = append $problems "gc.buckets is for mode gateway" -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "sseproxy is not configured, see values.yaml:\n- %s\n" (join "\n- " $problems)) -}}
{{- end -}}
{{- end -}}
