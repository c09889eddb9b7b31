package clients_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// tofuConfig keeps its state in a bucket. To apply it takes until there is a file "go".
const tofuConfig = `
terraform {
  backend "s3" {
    bucket                      = %q
    key                         = "state/app.tfstate"
    region                      = %q
    endpoints                   = { s3 = %q }
    use_path_style              = true
    use_lockfile                = true
    encrypt                     = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
  }
}

variable "secret" {}

resource "terraform_data" "app" {
  input            = var.secret
  triggers_replace = var.secret
  provisioner "local-exec" {
    command = "until test -e %s; do sleep 0.05; done"
  }
}

output "secret" { value = terraform_data.app.output }
`

// TestOpenTofu: state and its lock in a bucket, as two people use them. While one applies the other is refused, and told who holds
// the lock; then the state is there for both. Lock and state hold what nobody but they should see.
func TestOpenTofu(t *testing.T) {
	program := programs(t, "tofu")[0]
	crossed(t, func(t *testing.T, f *front) {
		first, second := f.tofu(t), f.tofu(t)
		canary := testbed.Canary(t)
		for _, s := range []*shell{first, second} {
			s.run(t, program, "init", "-input=false")
		}
		apply := []string{program, "apply", "-auto-approve", "-input=false", "-no-color", "-var=secret=" + string(canary)}
		held := exec.CommandContext(t.Context(), apply[0], apply[1:]...)
		held.Dir, held.Env = first.dir, first.env
		var said strings.Builder
		held.Stdout, held.Stderr = &said, &said
		if err := held.Start(); err != nil {
			t.Fatal(err)
		}
		const lock = "state/app.tfstate.tflock"
		f.requireSoon(t, "a lock", func() bool { return slices.Contains(f.keys(t), lock) })
		second.write(t, "go", nil)
		out, errs, err := second.try(t, nil, apply...)
		if err == nil || !strings.Contains(string(errs), "Error acquiring the state lock") || !strings.Contains(string(errs), "OperationTypeApply") {
			t.Errorf("the second to apply: %v\n%s%s", err, out, errs)
		}
		f.requireSealed(t, []byte(`"Operation":"OperationTypeApply"`))
		first.write(t, "go", nil)
		if err := held.Wait(); err != nil {
			t.Errorf("the first to apply: %v\n%s", err, said.String())
		}
		if keys := f.keys(t); slices.Contains(keys, lock) {
			t.Errorf("the store has %q: a lock is left", keys)
		}

		if got := second.run(t, program, "output", "-raw", "secret"); got != string(canary) {
			t.Errorf("the second reads %q, not %q", got, canary)
		}
		if said := second.run(t, apply...); !strings.Contains(said, "0 added, 0 changed, 0 destroyed") {
			t.Errorf("the second applies the same:\n%s", said)
		}
		other := string(testbed.Canary(t))
		second.run(t, append(apply[:len(apply)-1:len(apply)-1], "-var=secret="+other)...)
		if got := first.run(t, program, "output", "-raw", "secret"); got != other {
			t.Errorf("the first reads %q, not %q", got, other)
		}
		f.requireSealed(t, canary)
		f.requireSealed(t, []byte(other))
		f.requireSealed(t, []byte(`"terraform_version":`))
	})
}

// tofu gives a shell in a folder with a configuration.
func (f *front) tofu(t *testing.T) *shell {
	t.Helper()
	s := newShell(t, append(f.awsEnv(), "CHECKPOINT_DISABLE=1")...)
	s.write(t, "main.tf", fmt.Appendf(nil, tofuConfig, f.bucket, f.region, f.url, filepath.Join(s.dir, "go")))
	return s
}

// requireSoon waits for something, which must come.
func (*front) requireSoon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > most {
			t.Fatalf("there is no %s", what)
		}
	}
}
