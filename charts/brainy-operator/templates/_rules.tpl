{{/*
What the operator does in a namespace with BrainyClusters, and nothing else. No rule names Secrets: those are read by a Role of their own.
*/}}
{{- define "brainy-operator.rules" -}}
# Follow the specs. `patch` sets and removes the finalizer of deletionPolicy Delete.
- apiGroups: [brainy.io]
  resources: [brainyclusters]
  verbs: [get, list, watch, patch]
# Report conditions, replicas and moves.
- apiGroups: [brainy.io]
  resources: [brainyclusters/status]
  verbs: [patch]
# Objects carry an owner reference that blocks the owner's deletion. Where OwnerReferencesPermissionEnforcement is on (OpenShift), the
# API server asks for this right.
- apiGroups: [brainy.io]
  resources: [brainyclusters/finalizers]
  verbs: [update]
# One StatefulSet per role. `patch` is server-side apply and scaling; `delete` removes the StatefulSet of a role that is gone.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# Who is up decides who gets partitions. `delete` replaces drained pods of an old revision; pods are created by the StatefulSet.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# The client Service, a headless Service per role, the pods' ServiceAccount, the ConfigMap with a dashboard.
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
# At most one pod of a role is evicted at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Pods can be reached on their one port only.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# What happened, for `kubectl describe`. `patch` counts repetitions.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.clusterMonitoring }}
# Scraping and alerts of clusters that ask for them; only with rbac.clusterMonitoring.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- end }}
