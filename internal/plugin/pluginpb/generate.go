// Package pluginpb is the plugin protocol's Go code, generated from
// plugin.proto.
package pluginpb

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=paths=source_relative --go-grpc_out=../../.. --go-grpc_opt=paths=source_relative internal/plugin/pluginpb/plugin.proto
