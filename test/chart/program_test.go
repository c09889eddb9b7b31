package chart_test

import (
	"bufio"
	"context"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// container returns the container that runs the program, with its pod's volumes.
func container(t *testing.T, objects []runtime.Object) (corev1.Container, []corev1.Volume) {
	t.Helper()
	for _, object := range objects {
		if d, ok := object.(*appsv1.Deployment); ok {
			return d.Spec.Template.Spec.Containers[0], d.Spec.Template.Spec.Volumes
		}
	}
	pod := admit(t, objects, "apps", minimalPod())
	return pod.Spec.InitContainers[0], pod.Spec.Volumes
}

// TestVariables: the chart sets every variable that the program has, in one scenario or another, and none that it has not.
func TestVariables(t *testing.T) {
	set := make(map[string]bool)
	for name, values := range scenarios(t) {
		if name == "library" {
			continue
		}
		c, _ := container(t, render(t, chart, "--values", values, "--api-versions", stable))
		for _, v := range c.Env {
			if strings.HasPrefix(v.Name, "SSEPROXY_") {
				set[v.Name] = true
			}
		}
	}
	var got []string
	for name := range set {
		got = append(got, name)
	}
	slices.Sort(got)
	help, err := exec.CommandContext(t.Context(), sseproxy, "serve", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	var want []string
	for _, v := range regexp.MustCompile(`(?m)^  (SSEPROXY_\w+)`).FindAllSubmatch(help, -1) {
		want = append(want, string(v[1]))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sseproxy serve --help (-), the chart (+):\n%s", diff)
	}
}

// files are the texts of the files that the chart mounts, by their names there.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "keyring.json")
	for _, key := range []string{"default", "main", "old", "older", "second", "third"} {
		run(t, sseproxy, "keys", "create", "--key", key, "--keyring", keyring)
	}
	certificate := filepath.Join(t.TempDir(), "tls")
	run(t, "openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=test", "-keyout", certificate+".key", "-out", certificate+".crt")
	texts := map[string][]byte{
		"identities.json": []byte(`{"identities": [{"name": "app", "access_key_id": "APP", "secret_access_key": "secret"}]}`),
		"policy.cedar":    []byte(`permit (principal is Identity, action, resource);`),
		"encryption.json": []byte(`{"rules": [{"bucket": "*", "key": "main"}]}`),
		"secret":          []byte("secret"),
	}
	for name, path := range map[string]string{
		"keyring.json": keyring, "tls.crt": certificate + ".crt", "tls.key": certificate + ".key", "ca.crt": certificate + ".crt",
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = text
	}
	return texts
}

// node does what a node's kubelet does for a container: it makes its mounts below a folder, and returns its environment for a program
// that finds them there.
func node(t *testing.T, c corev1.Container, volumes []corev1.Volume, texts map[string][]byte) []string {
	t.Helper()
	root := t.TempDir()
	for _, mount := range c.VolumeMounts {
		folder := filepath.Join(root, mount.MountPath)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
		if i < 0 {
			t.Fatalf("there is no volume %s", mount.Name)
		}
		for name, mode := range contents(volumes[i]) {
			write(t, filepath.Join(folder, name), texts[name], mode)
		}
	}
	environ := []string{"PATH=" + os.Getenv("PATH")}
	for _, v := range c.Env {
		value := v.Value
		switch {
		case v.ValueFrom != nil:
			value = "from-a-secret"
		case strings.HasPrefix(value, "/"):
			value = filepath.Join(root, value)
		case strings.HasSuffix(v.Name, "_LISTEN"):
			value = regexp.MustCompile(`:\d+$`).ReplaceAllString(value, ":0")
		}
		environ = append(environ, v.Name+"="+value)
	}
	return environ
}

func write(t *testing.T, path string, text []byte, mode fs.FileMode) {
	t.Helper()
	if text == nil {
		t.Fatalf("nothing to put into %s", path)
	}
	if err := os.WriteFile(path, text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// contents are the files of a volume, with their modes.
func contents(v corev1.Volume) map[string]fs.FileMode {
	var items []corev1.KeyToPath
	var mode int32
	switch {
	case v.Secret != nil:
		items, mode = v.Secret.Items, *v.Secret.DefaultMode
		if items == nil {
			items = []corev1.KeyToPath{{Path: "tls.crt"}, {Path: "tls.key"}}
		}
	case v.ConfigMap != nil:
		items, mode = v.ConfigMap.Items, *v.ConfigMap.DefaultMode
	}
	all := make(map[string]fs.FileMode)
	for _, item := range items {
		all[item.Path] = fs.FileMode(mode).Perm()
	}
	return all
}

// TestProgramStarts: with the environment, the files and the modes that the chart gives it the program serves, or wants nothing more than a
// key provider that is not there.
func TestProgramStarts(t *testing.T) {
	texts := files(t)
	for name, values := range scenarios(t) {
		if name == "library" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			objects := render(t, chart, "--values", values, "--api-versions", stable)
			texts := maps.Clone(texts)
			for _, object := range objects {
				if inline, ok := object.(*corev1.ConfigMap); ok {
					for name, text := range inline.Data {
						texts[name] = []byte(text)
					}
				}
			}
			c, volumes := container(t, objects)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, sseproxy, c.Args...)
			cmd.Env = node(t, c, volumes, texts)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if log, ok := starts(stderr); !ok {
				t.Errorf("it does not start:\n%s", log)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

// starts reads a log until the program serves, or has all but its key provider, or ends.
func starts(log io.Reader) (read string, ok bool) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		read += lines.Text() + "\n"
		if strings.Contains(lines.Text(), `"msg":"serving"`) || strings.Contains(lines.Text(), "key provider is unavailable") {
			return read, true
		}
	}
	return read, false
}
