// Calls a server with the package for Go, and prints what came of it as JSON.
//
// Arguments: its address, an API key, the path of a service config, a user, a feature with a limit, and a package.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"time"

	canusev1 "canuse/v1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type outcome struct {
	Recorded  bool
	Access    bool
	Reason    string
	Used      int64
	Code      string
	Reasons   []string
	Fields    []string
	Migrated  int64
	Messages  int
	LateError string
}

func main() {
	address, key, configPath, user, feature, pkg := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	config, err := os.ReadFile(configPath)
	check(err)
	connection, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(config)),
	)
	check(err)
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+key)
	entitlements := canusev1.NewEntitlementServiceClient(connection)

	var made outcome
	delta := int64(3)
	recorded, err := entitlements.CreateUsageEvent(
		ctx, &canusev1.CreateUsageEventRequest{UserId: user, FeatureId: feature, Delta: &delta, EventId: "go"},
	)
	check(err)
	made.Recorded = recorded.Recorded

	answer, err := entitlements.CanUse(ctx, &canusev1.CanUseRequest{UserId: user, FeatureId: feature})
	check(err)
	made.Access, made.Reason, made.Used = answer.Access, answer.Reason.String(), answer.Consumption.Used

	_, err = entitlements.CreateUsageEvent(ctx, &canusev1.CreateUsageEventRequest{FeatureId: feature})
	refused := status.Convert(err)
	made.Code = refused.Code().String()
	for _, detail := range refused.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			made.Reasons = append(made.Reasons, detail.Reason)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				made.Fields = append(made.Fields, violation.Field)
			}
		}
	}

	stream, err := canusev1.NewCatalogServiceClient(connection).MigrateSubscriptions(
		ctx, &canusev1.MigrateSubscriptionsRequest{PackageId: pkg, FromVersion: 1, ToVersion: 2, DryRun: true},
	)
	check(err)
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		made.Messages++
		made.Migrated = message.Migrated
	}

	late, cancel := context.WithTimeout(ctx, time.Nanosecond)
	defer cancel()
	_, err = entitlements.CanUse(late, &canusev1.CanUseRequest{UserId: user, FeatureId: feature})
	made.LateError = status.Code(err).String()

	check(json.NewEncoder(os.Stdout).Encode(made))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
