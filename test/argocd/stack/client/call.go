// Package client is what a test says to the client program of an Argo CD, which
// asks the plugin with Argo CD's own code: a [Call] in, an [Answer] out, as JSON.
package client

import "time"

// Methods of the plugin protocol.
const (
	Check      = "CheckPluginConfiguration"
	Match      = "MatchRepository"
	Parameters = "GetParametersAnnouncement"
	Generate   = "GenerateManifest"
)

// Call is a question to the plugin.
type Call struct {
	ID int
	// Method is one of [Check], [Match], [Parameters] and [Generate].
	Method string
	// Plugin is spec.source.plugin.name; "" has Argo CD discover one.
	Plugin string
	// Repository and App are directories, App in Repository.
	Repository, App string
	// Exclude are the repo-server's --plugin-tar-exclude patterns.
	Exclude []string
	// Env is what the plugin is told, "NAME=value" each.
	Env      []string
	Deadline time.Duration

	// Messages, if there are any, are sent in place of the repository, and Stall
	// then waits for the deadline with the stream open.
	Messages []Message
	Stall    bool
}

// Message is one of a stream: metadata, or a chunk of the archive.
type Message struct {
	Metadata   bool
	AppRelPath string
	Checksum   string
	Size       int64
	Chunk      []byte
}

// Answer is the plugin's.
type Answer struct {
	ID        int
	Manifests []string
	// Supported and Discovery are MatchRepository's; Discovery and
	// GitCredentials are CheckPluginConfiguration's.
	Supported, Discovery, GitCredentials bool
	Parameters                           []Parameter
	// Code and Error are the gRPC status, as the repo-server sees it. Code is
	// "Unknown" for an error of the client's own.
	Code, Error string
	Took        time.Duration
}

// Parameter is an announcement.
type Parameter struct {
	Name, Title, Tooltip, Collection, String string
	Array                                    []string
	Map                                      map[string]string
}
