// A vCenter on loopback for the tests of the vmware driver: govmomi's simulator, made as strict as a vCenter where
// the library lets everything pass, and with faults that tests switch on at /control.
//
//   - /folder wants the cookie of a live session. There is no DELETE.
//   - Tasks of the file manager and the datastore browser name a managed entity, as pyVmomi needs.
//   - A second listener plays a host: its /folder takes each ticket once, and no cookie of a session.
//
// /control?ds=NAME&told=BYTES&room=BYTES  a datastore that tells so much free space and ends connections behind room
// /control?redirects=N                    redirect so often: the last one leads to the host, others to the vCenter
// /control?rude=1                         hang up instead of an answer when there is no session
// /control?ranges=0                       send whole files, whatever was asked for
// /control?cut=BYTES                      end the connection of the next PUT behind so many bytes
// /control?fault=STATUS                   answer the next PUT with this status
// Each call returns what the host has seen: one line a request with its length and the names of its cookies.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const ticketName = "vmware_cgi_ticket"

// taskEntities gives tasks of managers the root folder as their entity.
type taskEntities struct {
	self types.ManagedObjectReference
	root types.ManagedObjectReference
}

func (t *taskEntities) Reference() types.ManagedObjectReference { return t.self }

func (t *taskEntities) PutObject(object mo.Reference) {
	task, ok := object.(*simulator.Task)
	if !ok || task.Info.Entity == nil {
		return
	}
	if kind := task.Info.Entity.Type; kind == "FileManager" || kind == "HostDatastoreBrowser" {
		root := t.root
		task.Info.Entity = &root
	}
}

func (t *taskEntities) UpdateObject(mo.Reference, []types.PropertyChange) {}
func (t *taskEntities) RemoveObject(types.ManagedObjectReference)         {}

// faults is what /control switches on.
type faults struct {
	sync.Mutex
	room      map[string]int64
	redirects int
	rude      bool
	whole     bool
	status    int
	cut       int64
	seen      []string
	tickets   map[string]bool
}

// folder serves the files of all datastores.
type folder struct {
	service *simulator.Service
	faults  *faults
	server  string // host:port of the vCenter
	host    string // host:port of the host
}

// hasSession asks the simulator itself whether it knows the session of a request.
func (f *folder) hasSession(r *http.Request) bool {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return false
	}
	at := &url.URL{Scheme: "https", Host: f.server, Path: "/sdk"}
	client := soap.NewClient(at, true)
	client.Jar.SetCookies(at, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value}})
	content, err := methods.GetServiceContent(r.Context(), client)
	if err != nil || content.SessionManager == nil {
		return false
	}
	var manager mo.SessionManager
	err = mo.RetrieveProperties(r.Context(), client, content.PropertyCollector, *content.SessionManager, &manager)
	return err == nil && manager.CurrentSession != nil
}

// takeTicket tells whether the request has a ticket that was not used before, and no session.
func (f *folder) takeTicket(r *http.Request) bool {
	names := make([]string, 0, 2)
	for _, cookie := range r.Cookies() {
		names = append(names, cookie.Name)
	}
	f.faults.Lock()
	defer f.faults.Unlock()
	f.faults.seen = append(f.faults.seen, fmt.Sprintf("%s %d %s", r.Method, r.ContentLength, strings.Join(names, ",")))
	ticket, err := r.Cookie(ticketName)
	if err != nil || f.faults.tickets[ticket.Value] || len(names) != 1 {
		return false
	}
	f.faults.tickets[ticket.Value] = true
	return true
}

func (f *folder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !f.hasSession(r) {
		f.faults.Lock()
		rude := f.faults.rude
		f.faults.Unlock()
		if rude && r.Method == http.MethodPut {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "no session", http.StatusUnauthorized)
		return
	}
	f.faults.Lock()
	hops, status := f.faults.redirects, f.faults.status
	if r.Method == http.MethodPut {
		f.faults.status = 0
	}
	f.faults.Unlock()
	if status != 0 && r.Method == http.MethodPut {
		http.Error(w, "a fault", status)
		return
	}
	done, _ := strconv.Atoi(r.URL.Query().Get("hop"))
	if done < hops {
		target := *r.URL
		target.Scheme, target.Host = "https", f.server
		query := target.Query()
		query.Set("hop", strconv.Itoa(done+1))
		target.RawQuery = query.Encode()
		if done+1 == hops {
			target.Host = f.host
		}
		http.Redirect(w, r, target.String(), http.StatusFound)
		return
	}
	f.serve(w, r)
}

func (f *folder) serveHost(w http.ResponseWriter, r *http.Request) {
	if !f.takeTicket(r) {
		http.Error(w, "no ticket", http.StatusUnauthorized)
		return
	}
	f.serve(w, r)
}

func (f *folder) serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		f.faults.Lock()
		if f.faults.whole {
			r.Header.Del("Range")
		}
		f.faults.Unlock()
		f.service.ServeDatastore(w, r)
	case http.MethodPut:
		name := r.URL.Query().Get("dsName")
		f.faults.Lock()
		room, isFull := f.faults.room[name]
		cut := f.faults.cut
		f.faults.cut = 0
		f.faults.Unlock()
		if isFull {
			r.Body = &limited{inner: r.Body, left: room, full: name}
		}
		if cut != 0 {
			r.Body = &limited{inner: r.Body, left: cut}
		}
		f.service.ServeDatastore(w, r)
	default:
		http.Error(w, "not this way", http.StatusMethodNotAllowed)
	}
}

// limited ends the connection, as a server does whose disk, named by full, is so.
type limited struct {
	inner io.ReadCloser
	left  int64
	full  string
}

func (l *limited) Read(into []byte) (int, error) {
	got, err := l.inner.Read(into)
	l.left -= int64(got)
	if l.left < 0 {
		tell(l.full, 0)
		panic(http.ErrAbortHandler)
	}
	return got, err
}

func (l *limited) Close() error { return l.inner.Close() }

// tell lets a datastore tell so much free space.
func tell(name string, free int64) {
	for _, each := range simulator.Map.All("Datastore") {
		datastore := each.(*simulator.Datastore)
		if datastore.Name == name {
			simulator.Map.WithLock(datastore, func() { datastore.Summary.FreeSpace = free })
		}
	}
}

func (f *folder) control(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	number := func(name string) int64 {
		value, err := strconv.ParseInt(query.Get(name), 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		return value
	}
	f.faults.Lock()
	defer f.faults.Unlock()
	if query.Has("ds") {
		tell(query.Get("ds"), number("told"))
		f.faults.room[query.Get("ds")] = number("room")
	}
	if query.Has("redirects") {
		f.faults.redirects = int(number("redirects"))
	}
	if query.Has("rude") {
		f.faults.rude = number("rude") != 0
	}
	if query.Has("ranges") {
		f.faults.whole = number("ranges") == 0
	}
	if query.Has("cut") {
		f.faults.cut = number("cut")
	}
	if query.Has("fault") {
		f.faults.status = int(number("fault"))
	}
	fmt.Fprint(w, strings.Join(f.faults.seen, "\n"))
	f.faults.seen = nil
}

func main() {
	listen := flag.String("l", "", "address of the vCenter")
	host := flag.String("host", "", "address of the host")
	user := flag.String("user", "", "the user who may log in")
	password := flag.String("password", "", "the user's password")
	certificate := flag.String("certificate", "", "PEM file of the certificate")
	key := flag.String("key", "", "PEM file of its key")
	root := flag.String("root", "", "folder of the datastores")
	ready := flag.String("ready", "", "file to write when the servers listen")
	flag.Parse()
	if err := os.MkdirAll(filepath.Clean(*root), 0o700); err != nil {
		log.Fatal(err)
	}
	os.Setenv("TMPDIR", *root) // where the library makes the folders of datastores

	model := simulator.VPX()
	model.Datastore = 2
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*user, *password)}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	model.Service.RegisterEndpoints = true
	files := &folder{
		service: model.Service, server: *listen, host: *host,
		faults: &faults{room: map[string]int64{}, tickets: map[string]bool{}},
	}
	// A pattern with a host goes before the library's own without one.
	model.Service.ServeMux = http.NewServeMux()
	model.Service.ServeMux.Handle("127.0.0.1/folder/", files)
	model.Service.ServeMux.HandleFunc("127.0.0.1/control", files.control)
	simulator.Map.AddHandler(&taskEntities{
		self: types.ManagedObjectReference{Type: "TaskEntities", Value: "task-entities"},
		root: model.ServiceContent.RootFolder,
	})
	server := model.Service.NewServer()
	defer server.Close()

	socket, err := net.Listen("tcp", *host)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*ready, []byte(server.URL.Host+"\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(
		tls.NewListener(socket, &tls.Config{Certificates: []tls.Certificate{pair}}), http.HandlerFunc(files.serveHost),
	))
}
