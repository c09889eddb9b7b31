package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// buildBinary builds sseproxy as it ships.
func buildBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sseproxy")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "nodev", "-o", binary, "github.com/sseproxy/sseproxy/cmd/sseproxy")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return binary
}

func newKeyring(t *testing.T) string {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "keyring.json")
	createKey(t, keyring, "default")
	return keyring
}

// process is a proxy in a process of its own.
type process struct {
	client *s3.Client
	cmd    *exec.Cmd
	dying  sync.Mutex

	binary, address string
	env             []string
	log             *bytes.Buffer // to be read after the end
}

func startProcess(t *testing.T, store *testbed.S3Store, binary, keyring string) *process {
	t.Helper()
	p := &process{binary: binary, address: freeAddress(t)}
	p.env = append(environment(store, keyring), "SSEPROXY_LISTEN="+p.address, "SSEPROXY_ADMIN_LISTEN=off")
	p.start(t)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	return p
}

// environment is what every command needs that has to do with a store.
func environment(store *testbed.S3Store, keyring string) []string {
	return []string{
		"SSEPROXY_UPSTREAM=" + store.URL, "SSEPROXY_UPSTREAM_REGION=" + store.Region,
		"SSEPROXY_UPSTREAM_ACCESS_KEY_ID=" + store.AccessKeyID, "SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=" + store.SecretAccessKey,
		"SSEPROXY_ACCESS_KEY_ID=" + accessKey, "SSEPROXY_SECRET_ACCESS_KEY=" + secretKey, "SSEPROXY_KEYRING=" + keyring,
	}
}

// start runs the process, again too, and waits until it listens.
func (p *process) start(t *testing.T) {
	t.Helper()
	p.log = new(bytes.Buffer)
	p.cmd = exec.Command(p.binary, "serve")
	p.cmd.Stderr, p.cmd.Env = p.log, p.env
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.client = testbed.S3Client(t, "http://"+p.address, accessKey, secretKey, region)
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not listen: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kill ends the process with SIGKILL: it has no time for anything.
func (p *process) kill() {
	p.dying.Lock()
	defer p.dying.Unlock()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l := testbed.Must(new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"))(t)
	defer l.Close() //nolint:errcheck // nothing came of it
	return l.Addr().String()
}

// partOf is a part of an upload that a test is making.
type partOf struct {
	bucket, key, id string
	number          int
}

// stream sends a part of n bytes without looking at its body first, and returns what Complete needs of it.
func (p partOf) stream(ctx context.Context, client *s3.Client, body io.Reader, n int64) (types.CompletedPart, error) {
	done := types.CompletedPart{PartNumber: ptr(int32(p.number))}
	u, err := s3.NewPresignClient(client).PresignUploadPart(ctx, &s3.UploadPartInput{Bucket: &p.bucket, Key: &p.key, UploadId: &p.id, PartNumber: done.PartNumber})
	if err != nil {
		return done, err
	}
	req, err := http.NewRequestWithContext(ctx, u.Method, u.URL, body)
	if err != nil {
		return done, err
	}
	req.ContentLength = n
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return done, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return done, fmt.Errorf("part %d: %d %s, %w", p.number, resp.StatusCode, answer, err)
	}
	done.ETag = ptr(resp.Header.Get("Etag"))
	return done, nil
}

// processes are two proxies over one store, with one keyring.
type processes struct {
	*rig // past them
	wire *testbed.Wire
	both [2]*process
	mu   sync.RWMutex // while one of them is started again
}

func newProcesses(t *testing.T, store *testbed.S3Store) *processes {
	t.Helper()
	p := &processes{wire: testbed.NewWire(t, store.URL), rig: &rig{store: store, direct: store.Client(t), bucket: testbed.Bucket(t, store)}}
	behind, binary, keyring := *store, buildBinary(t), newKeyring(t)
	behind.URL = p.wire.URL
	for i := range p.both {
		p.both[i] = startProcess(t, &behind, binary, keyring)
	}
	return p
}

// through gives the rig of one of the processes.
func (p *processes) through(i int) *rig {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return &rig{store: p.store, direct: p.direct, client: p.both[i].client, bucket: p.bucket}
}

func (p *processes) restart(t *testing.T, i int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.both[i].kill()
	p.both[i].start(t)
}

// checkObject reads an object through both processes, and sees that nothing of an upload is left.
func (p *processes) checkObject(t *testing.T, key string, want []byte) {
	t.Helper()
	for i := range p.both {
		if got, _, err := p.through(i).get(t, key, ""); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s through process %d: %d bytes of %d, %v", key, i, len(got), len(want), err)
		}
	}
	left := testbed.Must(p.direct.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &p.bucket, Prefix: ptr(".sseproxy/")}))(t)
	for _, v := range left.Versions {
		t.Errorf("left: %s", *v.Key)
	}
}

// TestProcessKilledInAPart: parts of one upload go to two processes at once, in random order, some twice with other bytes. One
// of the processes is killed in the middle of a part and started again. Whichever completes, the object is right.
func TestProcessKilledInAPart(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		p := newProcesses(t, store)
		sizes := []int{mib5 + 17, mib5, mib5 + 512, mib5, 2*mib5 - 3, 70000}
		for completer := range p.both {
			key := fmt.Sprintf("completed by %d", completer)
			id := p.through(0).startUpload(t, key, s3.CreateMultipartUploadInput{})
			done, bodies := make([]types.CompletedPart, len(sizes)), make([][]byte, len(sizes))
			send := func(i, attempt int) {
				part := partOf{p.bucket, key, id, i + 1}
				bodies[i] = pattern(sizes[i] + attempt + i)[attempt+i:]
				var err error
				for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
					if done[i], err = part.stream(t.Context(), p.through(rand.IntN(2)).client, bytes.NewReader(bodies[i]), int64(sizes[i])); err == nil {
						return
					}
				}
				t.Error(err)
			}
			var wg sync.WaitGroup
			for _, i := range rand.Perm(len(sizes)) {
				wg.Go(func() {
					if i == 2 {
						p.breakPart(t, 1, partOf{p.bucket, key, id, i + 1}, sizes[i])
					}
					for attempt := range 1 + i%2 {
						send(i, attempt)
					}
				})
			}
			wg.Wait()
			testbed.Must(p.through(completer).complete(t, key, id, done...))(t)
			p.checkObject(t, key, slices.Concat(bodies...))
		}
	})
}

// breakPart sends half of a part to a process, kills the process when the store has something of that, and starts it again.
func (p *processes) breakPart(t *testing.T, victim int, part partOf, n int) {
	release, ended := make(chan struct{}), make(chan error, 1)
	body := io.MultiReader(bytes.NewReader(pattern(n/2)), readerFunc(func([]byte) (int, error) {
		<-release
		return 0, errors.New("the process is gone")
	}))
	go func() {
		_, err := part.stream(t.Context(), p.through(victim).client, body, int64(n))
		ended <- err
	}()
	arrived := func(x testbed.Exchange) bool {
		return x.Size > 0 && strings.HasSuffix(x.Target, fmt.Sprintf("?partNumber=%d&uploadId=%s", part.number, url.QueryEscape(part.id)))
	}
	for deadline := time.Now().Add(10 * time.Second); !slices.ContainsFunc(p.wire.Requests(), arrived); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("nothing of the part came to the store")
			break
		}
	}
	p.restart(t, victim)
	close(release)
	if err := <-ended; err == nil {
		t.Error("half a part was accepted")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestProcessKilledInComplete: wherever in a Complete the process is killed, the key has its old object or the new one,
// whole; and a Complete sent again, to either process, succeeds.
func TestProcessKilledInComplete(t *testing.T) {
	own := func(x *http.Request) bool {
		return x.Method == http.MethodPut && x.URL.Query().Get("partNumber") == "10000"
	}
	whole := func(x *http.Request) bool { return x.Method == http.MethodPost && x.URL.Query().Has("uploadId") }
	removal := func(x *http.Request) bool { return x.Method == http.MethodDelete }
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		p := newProcesses(t, store)
		for name, moment := range map[string]struct {
			at       func(*http.Request) bool
			answered bool // by the store, before the process is killed
		}{
			"before part 10000":          {own, false},
			"after part 10000":           {own, true},
			"before the store completes": {whole, false},
			"after the store completed":  {whole, true},
			"while state is removed":     {removal, true},
		} {
			for retry := range p.both {
				key := fmt.Sprintf("%s, again by %d", name, retry)
				old := p.through(0).put(t, key, []byte("old"))
				id := p.through(1).startUpload(t, key, s3.CreateMultipartUploadInput{})
				one := p.through(0).sendPart(t, key, id, 1, pattern(mib5), "")
				two := p.through(1).sendPart(t, key, id, 2, pattern(100), "")
				want := append(pattern(mib5), pattern(100)...)

				p.killAt(moment.at, moment.answered, 1)
				if _, err := p.through(1).complete(t, key, id, one, two); err == nil {
					t.Errorf("%s: the process was not killed", name)
				}
				p.wire.AlterRequest(nil)
				p.wire.AlterResponse(nil)
				if got, out, err := p.through(0).get(t, key, ""); err != nil || !bytes.Equal(got, want) && (*out.ETag != *old.ETag || string(got) != "old") {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
				p.restart(t, 1)
				if _, err := p.through(retry).complete(t, key, id, one, two); err != nil {
					t.Errorf("%s: Complete again: %v", name, err)
				}
				p.checkObject(t, key, want)
			}
		}
	})
}

// killAt kills a process when the wire sees a request, or the answer to it. The one that saw it gets no further.
func (p *processes) killAt(at func(*http.Request) bool, answered bool, victim int) {
	alter := func(req *http.Request) error {
		if !at(req) {
			return nil
		}
		p.both[victim].kill()
		return testbed.ErrCut
	}
	if answered {
		p.wire.AlterResponse(func(resp *http.Response) error { return alter(resp.Request) })
		return
	}
	p.wire.AlterRequest(alter)
}

// TestProcessKilledWhileEncrypting: the command is killed in the middle of an object, again and again; every object is as it was, or sealed and whole,
// and the run that nobody kills finds the rest.
func TestProcessKilledWhileEncrypting(t *testing.T) {
	binary := buildBinary(t)
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		const objects, size = 30, 5*frame + 3
		for i := range objects {
			r.putPlain(t, fmt.Sprint(i), pattern(size + i)[i:], nil)
		}
		behind := *store
		behind.URL = r.wire.URL
		run := func() error {
			cmd := exec.CommandContext(t.Context(), binary, "encrypt", "s3://"+r.bucket)
			cmd.Env = environment(&behind, r.keyring)
			var puts atomic.Int64
			r.wire.AlterRequest(func(req *http.Request) error {
				if req.Method == http.MethodPut && puts.Add(1) == 10 {
					req.Body = readCloser{io.TeeReader(req.Body, writerFunc(func(b []byte) (int, error) { return len(b), cmd.Process.Kill() })), req.Body}
				}
				return nil
			})
			return cmd.Run()
		}
		killed := 0
		for ; ; killed++ {
			if err := run(); err == nil {
				break
			}
			if killed == objects {
				t.Fatal("it does not come to its end")
			}
		}
		r.wire.AlterRequest(nil)
		if killed < 2 {
			t.Errorf("it was killed %d times", killed)
		}
		for i := range objects {
			r.wantKept(t, fmt.Sprint(i), pattern(size + i)[i:])
		}
		if got, err := r.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: objects}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

type readCloser struct {
	io.Reader
	io.Closer
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
