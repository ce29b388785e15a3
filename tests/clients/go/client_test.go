// The unmodified Go client, over gRPC, against the Brainy that BRAINY_HOST and BRAINY_GRPC_PORT name. test_go.py runs this.
package clients

import (
	"context"
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type city struct {
	id      uint64
	vector  []float32
	name    string
	country string
	people  int64
}

var cities = []city{
	{1, []float32{0.05, 0.61, 0.76, 0.74}, "Berlin", "DE", 3_700_000},
	{2, []float32{0.19, 0.81, 0.75, 0.11}, "London", "GB", 8_900_000},
	{3, []float32{0.36, 0.55, 0.47, 0.94}, "Moscow", "RU", 12_600_000},
	{4, []float32{0.18, 0.01, 0.85, 0.80}, "Hamburg", "DE", 1_900_000},
}

func connected(t *testing.T) (context.Context, *qdrant.Client) {
	port, err := strconv.Atoi(os.Getenv("BRAINY_GRPC_PORT"))
	if err != nil {
		t.Fatalf("BRAINY_GRPC_PORT: %v", err)
	}
	client, err := qdrant.NewClient(&qdrant.Config{
		Host: os.Getenv("BRAINY_HOST"), Port: port, APIKey: os.Getenv("BRAINY_API_KEY"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(func() {
		cancel()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, client
}

// A new collection with the cities, dropped at the end.
func filled(t *testing.T, ctx context.Context, client *qdrant.Client) string {
	name := "go-" + uuid.NewString()
	err := client.CreateCollection(ctx, &qdrant.CreateCollection{
		CollectionName: name,
		VectorsConfig:  qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 4, Distance: qdrant.Distance_Cosine}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.DeleteCollection(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	points := make([]*qdrant.PointStruct, len(cities))
	for i, each := range cities {
		points[i] = &qdrant.PointStruct{
			Id:      qdrant.NewIDNum(each.id),
			Vectors: qdrant.NewVectors(each.vector...),
			Payload: qdrant.NewValueMap(map[string]any{
				"city": each.name, "country": each.country, "people": each.people,
			}),
		}
	}
	done, err := client.Upsert(ctx, &qdrant.UpsertPoints{
		CollectionName: name, Wait: qdrant.PtrOf(true), Points: points,
	})
	if err != nil {
		t.Fatal(err)
	}
	if done.GetStatus() != qdrant.UpdateStatus_Completed {
		t.Fatalf("the upsert is %s", done.GetStatus())
	}
	return name
}

func TestACollectionIsToldAndListed(t *testing.T) {
	ctx, client := connected(t)
	name := filled(t, ctx, client)
	exists, err := client.CollectionExists(ctx, name)
	if err != nil || !exists {
		t.Fatalf("exists: %v, %v", exists, err)
	}
	info, err := client.GetCollectionInfo(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	params := info.GetConfig().GetParams().GetVectorsConfig().GetParams()
	if info.GetPointsCount() != 4 || params.GetSize() != 4 || params.GetDistance() != qdrant.Distance_Cosine {
		t.Fatalf("told: %v", info)
	}
	_, err = client.GetCollectionInfo(ctx, name+"-no")
	if status.Code(err) != codes.NotFound {
		t.Fatalf("an unknown collection: %v", err)
	}
}

func TestPointsAreFoundCountedAndRead(t *testing.T) {
	ctx, client := connected(t)
	name := filled(t, ctx, client)
	german := &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("country", "DE")}}

	found, err := client.Query(ctx, &qdrant.QueryPoints{
		CollectionName: name,
		Query:          qdrant.NewQuery(cities[3].vector...),
		Filter:         german,
		Limit:          qdrant.PtrOf(uint64(1)),
		WithPayload:    qdrant.NewWithPayloadInclude("people"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].GetId().GetNum() != 4 || math.Abs(float64(found[0].GetScore())-1) > 1e-5 {
		t.Fatalf("found: %v", found)
	}
	payload := found[0].GetPayload()
	if len(payload) != 1 || payload["people"].GetIntegerValue() != 1_900_000 {
		t.Fatalf("payload: %v", payload)
	}

	count, err := client.Count(ctx, &qdrant.CountPoints{CollectionName: name, Filter: german})
	if err != nil || count != 2 {
		t.Fatalf("counted %d, %v", count, err)
	}
	page, next, err := client.ScrollAndOffset(ctx, &qdrant.ScrollPoints{
		CollectionName: name, Limit: qdrant.PtrOf(uint32(3)),
	})
	if err != nil || len(page) != 3 || next.GetNum() != 4 {
		t.Fatalf("a page of %d, then %v, %v", len(page), next, err)
	}
	read, err := client.Get(ctx, &qdrant.GetPoints{
		CollectionName: name, Ids: []*qdrant.PointId{qdrant.NewIDNum(2)}, WithPayload: qdrant.NewWithPayload(true),
	})
	if err != nil || len(read) != 1 || read[0].GetPayload()["city"].GetStringValue() != "London" {
		t.Fatalf("read: %v, %v", read, err)
	}
}

func TestPointsChangeAndGo(t *testing.T) {
	ctx, client := connected(t)
	name := filled(t, ctx, client)
	_, err := client.SetPayload(ctx, &qdrant.SetPayloadPoints{
		CollectionName: name,
		Wait:           qdrant.PtrOf(true),
		Payload:        qdrant.NewValueMap(map[string]any{"eu": true}),
		PointsSelector: qdrant.NewPointsSelector(qdrant.NewIDNum(1)),
	})
	if err != nil {
		t.Fatal(err)
	}
	inUnion := &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchBool("eu", true)}}
	_, err = client.Delete(ctx, &qdrant.DeletePoints{
		CollectionName: name, Wait: qdrant.PtrOf(true), Points: qdrant.NewPointsSelectorFilter(inUnion),
	})
	if err != nil {
		t.Fatal(err)
	}
	count, err := client.Count(ctx, &qdrant.CountPoints{CollectionName: name})
	if err != nil || count != 3 {
		t.Fatalf("counted %d, %v", count, err)
	}
	_, err = client.SetPayload(ctx, &qdrant.SetPayloadPoints{
		CollectionName: name,
		Wait:           qdrant.PtrOf(true),
		Payload:        qdrant.NewValueMap(map[string]any{"eu": true}),
		PointsSelector: qdrant.NewPointsSelector(qdrant.NewIDNum(1)),
	})
	if status.Code(err) != codes.NotFound {
		t.Fatalf("a point that is gone: %v", err)
	}
	_, err = client.Query(ctx, &qdrant.QueryPoints{CollectionName: name, Query: qdrant.NewQuery(1, 2)})
	if status.Code(err) != codes.InvalidArgument {
		t.Fatalf("a query of another dimension: %v", err)
	}
}
