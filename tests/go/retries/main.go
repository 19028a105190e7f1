// Makes a read and a recording call with a service config, and prints their status codes as JSON.
//
// Arguments: the address of a server, and the path of a service config.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	canusev1 "canuse/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func main() {
	config, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient(
		os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(config)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	entitlements := canusev1.NewEntitlementServiceClient(connection)
	_, read := entitlements.CanUse(context.Background(), &canusev1.CanUseRequest{})
	_, use := entitlements.UseFeature(context.Background(), &canusev1.UseFeatureRequest{})
	codes := []uint32{uint32(status.Code(read)), uint32(status.Code(use))}
	if err := json.NewEncoder(os.Stdout).Encode(codes); err != nil {
		log.Fatal(err)
	}
}
