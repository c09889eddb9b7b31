// Package chart_test holds the Helm chart to Helm's own checks, to the types of Kubernetes, and to the program that it runs.
package chart_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	chart = "../../charts/sseproxy"

	// What clusters with MutatingAdmissionPolicy say: Kubernetes 1.34 and 1.35, if it is switched on, and later ones.
	beta   = "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"
	stable = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
)

// The programs under test, which TestMain builds.
var helm, helmUnittest, sseproxy string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	helm, helmUnittest = goCommand("tool", "-n", "helm"), goCommand("tool", "-n", "helm-unittest")
	sseproxy = filepath.Join(folder, "sseproxy")
	goCommand("build", "-C", "../..", "-tags", "nodev", "-o", sseproxy, "./cmd/sseproxy")
	status := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		log.Fatal(err)
	}
	os.Exit(status)
}

// goCommand runs the go command, and returns what it prints.
func goCommand(args ...string) string {
	out, err := exec.CommandContext(context.Background(), "go", args...).Output()
	if err != nil {
		log.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// run runs a program, which must succeed.
func run(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// render renders a chart as the release "test" in the namespace "apps".
func render(t *testing.T, chart string, args ...string) []runtime.Object {
	t.Helper()
	return decode(t, run(t, helm, append([]string{"template", "test", chart, "--namespace", "apps"}, args...)...))
}

// decode reads objects as their types have them: an unknown or repeated field, or a value of the wrong type, is an error.
func decode(t *testing.T, documents []byte) []runtime.Object {
	t.Helper()
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, gatewayv1.Install, certmanagerv1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, types, types, json.SerializerOptions{Yaml: true, Strict: true})
	var objects []runtime.Object
	reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(documents)))
	document := make([]byte, len(documents)+1)
	for {
		n, err := reader.Read(document)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(document[:n])) == 0 {
			continue
		}
		object, _, err := strict.Decode(document[:n], nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document[:n])
		}
		objects = append(objects, object)
	}
}

// find returns the one object of a type.
func find[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	var found []T
	for _, object := range objects {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T", len(found), *new(T))
	}
	return found[0]
}

// scenarios are the values files of charts/sseproxy/ci by name.
func scenarios(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	all := make(map[string]string)
	for _, path := range paths {
		all[strings.TrimSuffix(filepath.Base(path), "-values.yaml")] = path
	}
	return all
}

// TestScenarios: for each scenario Helm finds nothing to complain of, and Kubernetes knows every field of what is rendered.
func TestScenarios(t *testing.T) {
	for name, values := range scenarios(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, helm, "lint", "--strict", "--quiet", chart, "--values", values)
			objects := render(t, chart, "--values", values, "--api-versions", beta)
			if (len(objects) == 0) != strings.HasPrefix(name, "library") {
				t.Errorf("%d objects", len(objects))
			}
		})
	}
}

// TestUnit runs the tests that are beside the chart.
func TestUnit(t *testing.T) {
	run(t, helmUnittest, "--strict", chart)
}

// TestNothingConfigured: an installation without values is refused, by a message that names what is required.
func TestNothingConfigured(t *testing.T) {
	for mode, required := range map[string][]string{
		"gateway": {"config.upstream is required", "client.secret or identities.secret is required", "keyring.secret is required"},
		"sidecar": {"config.upstream is required", "keyring.secret is required"},
	} {
		out, err := exec.CommandContext(t.Context(), helm, "template", "test", chart, "--set", "mode="+mode, "--api-versions", stable).CombinedOutput()
		if err == nil {
			t.Errorf("%s: it was rendered", mode)
		}
		for _, words := range required {
			if !strings.Contains(string(out), words) {
				t.Errorf("%s: %q is not in\n%s", mode, words, out)
			}
		}
	}
}

// TestPolicyVersion: the admission policy is of the stable version where the cluster has it, and where it has none at all, there is none.
func TestPolicyVersion(t *testing.T) {
	values := scenarios(t)["sidecar"]
	find[*admissionv1.MutatingAdmissionPolicy](t, render(t, chart, "--values", values, "--api-versions", beta, "--api-versions", stable))
}

// TestManual: values.yaml has every value that the schema lets through, and the schema lets nothing else through.
func TestManual(t *testing.T) {
	var schema jsonSchema
	var values map[string]any
	for name, into := range map[string]any{"values.schema.json": &schema, "values.yaml": &values} {
		text, err := os.ReadFile(filepath.Join(chart, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	delete(schema.Properties, "global") // Helm's own
	compare(t, "", schema, values)
}

// jsonSchema is what a schema says of an object's members.
type jsonSchema struct {
	Properties           map[string]jsonSchema `json:"properties"`
	AdditionalProperties any                   `json:"additionalProperties"`
}

func compare(t *testing.T, path string, schema jsonSchema, values map[string]any) {
	t.Helper()
	if schema.AdditionalProperties != false {
		t.Errorf("%s: other members are let through", path)
	}
	for name, member := range schema.Properties {
		value, ok := values[name]
		if !ok {
			t.Errorf("values.yaml lacks %s.%s", path, name)
		}
		if below, ok := value.(map[string]any); ok && member.Properties != nil && len(below) > 0 {
			compare(t, path+"."+name, member, below)
		}
	}
}

// TestAlerts: the chart's alerts are those of the documentation.
func TestAlerts(t *testing.T) {
	document, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile(filepath.Join(chart, "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(document, append([]byte("```yaml\n"), append(alerts, "```\n"...)...)) {
		t.Error("files/alerts.yaml is not what docs/metrics.md has: copy it from there")
	}
}

// TestExamples: the values in the documentation render.
func TestExamples(t *testing.T) {
	for _, document := range []string{filepath.Join(chart, "README.md"), "../../docs/kubernetes.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		examples := regexp.MustCompile("(?s)```yaml\n# values.*?\n(.*?)```").FindAllSubmatch(text, -1)
		if len(examples) == 0 {
			t.Errorf("%s has no values", document)
		}
		for _, example := range examples {
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, example[1], 0o600); err != nil {
				t.Fatal(err)
			}
			render(t, chart, "--values", values, "--api-versions", beta)
		}
	}
}
