package chart_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
)

// cluster is an API server's client that also has the schemas of Kubernetes' own types.
type cluster struct{ *fake.Clientset }

func (c cluster) Discovery() discovery.DiscoveryInterfaces { return schemas{c.Clientset.Discovery()} }

type schemas struct{ discovery.DiscoveryInterfaces }

func (schemas) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }

// admit has an API server's own admission plugin apply the policies among objects to a pod that is created in a namespace.
func admit(t *testing.T, objects []runtime.Object, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	plugin, err := mutating.NewPlugin(nil)
	if err != nil {
		t.Fatal(err)
	}
	known := []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{corev1.LabelMetadataName: namespace, "example.com/team": "storage"},
	}}}
	client := cluster{fake.NewClientset(append(known, policies(objects)...)...)}
	factory := informers.NewSharedInformerFactory(client, 0)
	plugin.SetEnabled(true)
	plugin.SetExternalKubeClientSet(client)
	plugin.SetExternalKubeInformerFactory(factory)
	plugin.SetRESTMapper(meta.NewDefaultRESTMapper(nil))
	plugin.SetDynamicClient(dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()))
	plugin.SetUnconditionalAuthorizer(authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionDeny, "", nil
	}))
	plugin.SetDrainedNotification(ctx.Done())
	if err := plugin.ValidateInitialization(); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if !plugin.WaitForReady() {
		t.Fatal("the plugin is not ready")
	}

	admitted := pod.DeepCopy()
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	for {
		attributes := admission.NewAttributesRecord(admitted, nil, gvk, namespace, pod.Name, corev1.SchemeGroupVersion.WithResource("pods"), "",
			admission.Create, &metav1.CreateOptions{}, false, nil)
		err := plugin.Admit(ctx, attributes, admission.NewObjectInterfacesFromScheme(scheme.Scheme))
		if err == nil {
			return admitted
		}
		if !apierrors.IsServiceUnavailable(err) { // the schemas are read in the background
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// policies are those among objects, with their bindings.
func policies(objects []runtime.Object) []runtime.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(object runtime.Object) bool {
		switch object.(type) {
		case *admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding:
			return false
		}
		return true
	})
}

// minimalPod asks for a sidecar, and has nothing else.
func minimalPod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "app", Labels: map[string]string{"sseproxy.github.io/inject": "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// richPod has containers, variables and volumes of its own besides.
func richPod() *corev1.Pod {
	pod := minimalPod()
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "app"}, {Name: "fetch", Image: "app"}}
	pod.Spec.Containers = []corev1.Container{
		{
			Name: "app", Image: "app", Args: []string{"run"},
			Env:          []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "AWS_REGION", Value: "elsewhere"}, {Name: "Z", Value: "$(A)"}},
			VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
		},
		{Name: "log", Image: "log"},
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	return pod
}

// libraryPod is the pod that testdata/app writes with the chart's named templates.
func libraryPod(t *testing.T, values string) *corev1.Pod {
	t.Helper()
	app := t.TempDir()
	for from, to := range map[string]string{"testdata/app": app, chart: filepath.Join(app, "charts", "sseproxy")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(values)
	if err != nil {
		t.Fatal(err)
	}
	nested := regexp.MustCompile("(?m)^").ReplaceAll(text, []byte("  "))
	file := filepath.Join(app, "nested.yaml")
	write(t, file, append([]byte("sseproxy:\n"), nested...), 0o600)
	return find[*corev1.Pod](t, render(t, app, "--values", file, "--set", "sseproxy.mode=library"))
}

// TestInjection: a pod with the label gets the very sidecar that the named templates write, first among its init containers; each container of
// its own learns where S3 is, and keeps what it had.
func TestInjection(t *testing.T) {
	for _, scenario := range []string{"sidecar", "sidecar-vault"} {
		values := scenarios(t)[scenario]
		objects := render(t, chart, "--values", values, "--api-versions", stable)
		library := libraryPod(t, values)
		app := library.Spec.Containers[0]
		for name, pod := range map[string]*corev1.Pod{"minimal": minimalPod(), "rich": richPod()} {
			t.Run(scenario+"/"+name, func(t *testing.T) {
				want := pod.DeepCopy()
				for _, containers := range [][]corev1.Container{want.Spec.InitContainers, want.Spec.Containers} {
					for i := range containers {
						containers[i].Env = merged(containers[i].Env, app.Env)
						containers[i].VolumeMounts = append(containers[i].VolumeMounts, app.VolumeMounts...)
					}
				}
				want.Spec.InitContainers = append([]corev1.Container{library.Spec.InitContainers[0]}, want.Spec.InitContainers...)
				want.Spec.Volumes = append(want.Spec.Volumes, library.Spec.Volumes...)
				got := admit(t, objects, "apps", pod)
				got.TypeMeta = want.TypeMeta // which an API server's plugin leaves empty in a typed object
				if env := got.Spec.Containers[0].Env; position(env, "A") > position(env, "Z") {
					t.Errorf("a variable stands before the one that it refers to: %v", env)
				}
				if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b corev1.EnvVar) bool { return a.Name < b.Name })); diff != "" {
					t.Errorf("want (-), got (+):\n%s", diff)
				}
			})
		}
	}
}

func position(variables []corev1.EnvVar, name string) int {
	return slices.IndexFunc(variables, func(v corev1.EnvVar) bool { return v.Name == name })
}

// merged are variables with others, which replace those of their names.
func merged(variables, others []corev1.EnvVar) []corev1.EnvVar {
	for _, other := range others {
		i := slices.IndexFunc(variables, func(v corev1.EnvVar) bool { return v.Name == other.Name })
		if i >= 0 {
			variables[i] = other
		} else {
			variables = append(variables, other)
		}
	}
	return variables
}

// TestNoInjection: a pod without the label, in another namespace, or with the sidecar already stays as it is.
func TestNoInjection(t *testing.T) {
	objects := render(t, chart, "--values", scenarios(t)["sidecar-vault"], "--api-versions", stable)
	unlabelled := richPod()
	unlabelled.Labels = map[string]string{"sseproxy.github.io/inject": "false"}
	written := libraryPod(t, scenarios(t)["sidecar"])
	written.Labels = minimalPod().Labels
	for name, c := range map[string]struct {
		namespace string
		pod       *corev1.Pod
	}{
		"another label":      {"apps", unlabelled},
		"of the system":      {"kube-system", richPod()},
		"with a sidecar":     {"apps", written},
		"admitted once more": {"apps", admit(t, objects, "apps", richPod())},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.pod, admit(t, objects, c.namespace, c.pod)); diff != "" {
				t.Errorf("before (-), after (+):\n%s", diff)
			}
		})
	}
}
