package main

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/argoproj/argo-cd/v3/cmpserver/apiclient"
	"github.com/argoproj/argo-cd/v3/util/app/discovery"
	"github.com/argoproj/argo-cd/v3/util/cmp"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack/client"
)

// answerAll makes the calls that it reads, a JSON object each, and writes an answer
// a line, in any order. It finds, dials and feeds the plugin with the code that
// the repo-server does it with.
func answerAll(in io.Reader, out io.Writer) error {
	calls := json.NewDecoder(in)
	answers := json.NewEncoder(out)
	var writing sync.Mutex
	var running sync.WaitGroup
	defer running.Wait()
	for {
		var call client.Call
		if err := calls.Decode(&call); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		running.Add(1)
		go func() {
			defer running.Done()
			answer := answer(call)
			writing.Lock()
			defer writing.Unlock()
			_ = answers.Encode(answer) // the test that reads it is gone
		}()
	}
}

func answer(call client.Call) client.Answer {
	ctx, cancel := context.WithTimeout(context.Background(), call.Deadline)
	defer cancel()
	start := time.Now()
	a := client.Answer{ID: call.ID}
	if err := ask(ctx, call, &a); err != nil {
		a.Error, a.Code = err.Error(), status.Code(err).String()
	}
	a.Took = time.Since(start)
	return a
}

func ask(ctx context.Context, call client.Call, a *client.Answer) error {
	conn, plugin, err := discovery.DetectConfigManagementPlugin(ctx, call.App, call.Repository, call.Plugin, call.Env, call.Exclude)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	switch call.Method {
	case client.Check:
		config, err := plugin.CheckPluginConfiguration(ctx, &emptypb.Empty{})
		if err != nil {
			return err
		}
		a.Discovery, a.GitCredentials = config.IsDiscoveryConfigured, config.ProvideGitCreds
		return nil
	case client.Match:
		stream, err := plugin.MatchRepository(ctx)
		if err != nil {
			return err
		}
		if err := feed(ctx, call, stream); err != nil {
			return err
		}
		match, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		a.Supported, a.Discovery = match.IsSupported, match.IsDiscoveryEnabled
		return nil
	case client.Parameters:
		stream, err := plugin.GetParametersAnnouncement(ctx)
		if err != nil {
			return err
		}
		if err := feed(ctx, call, stream); err != nil {
			return err
		}
		parameters, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		for _, p := range parameters.ParameterAnnouncements {
			a.Parameters = append(a.Parameters, client.Parameter{Name: p.Name, Title: p.Title, Tooltip: p.Tooltip, String: p.String_, Array: p.Array, Map: p.Map, Collection: p.CollectionType})
		}
		return nil
	default:
		stream, err := plugin.GenerateManifest(ctx)
		if err != nil {
			return err
		}
		if err := feed(ctx, call, stream); err != nil {
			return err
		}
		manifests, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		a.Manifests = manifests.Manifests
		return nil
	}
}

// feed sends the repository as the repo-server does, or else the messages that
// the call gives, which no repo-server would send.
func feed(ctx context.Context, call client.Call, stream cmp.StreamSender) error {
	if call.Messages == nil {
		return cmp.SendRepoStream(ctx, call.App, call.Repository, stream, call.Env, call.Exclude)
	}
	for _, m := range call.Messages {
		request := cmp.AppFileRequest(m.Chunk)
		if m.Metadata {
			metadata := &apiclient.ManifestRequestMetadata{AppName: "app", AppRelPath: m.AppRelPath, Checksum: m.Checksum, Size_: m.Size}
			for _, name := range []string{"ARGOCD_APP_NAME", "ARGOCD_APP_SOURCE_PATH"} {
				value := map[string]string{"ARGOCD_APP_NAME": "shop", "ARGOCD_APP_SOURCE_PATH": m.AppRelPath}[name]
				metadata.Env = append(metadata.Env, &apiclient.EnvEntry{Name: name, Value: value})
			}
			request = &apiclient.AppStreamRequest{Request: &apiclient.AppStreamRequest_Metadata{Metadata: metadata}}
		}
		// A server that has refused already ends the stream; its reason is in the
		// answer, which the caller reads next.
		if err := stream.Send(request); err != nil && err != io.EOF {
			return err
		}
	}
	if call.Stall {
		<-ctx.Done()
	}
	return nil
}
