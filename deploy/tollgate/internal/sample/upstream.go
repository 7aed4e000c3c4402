package sample

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"time"
)

// Upstream answers for the weather API as its OpenAPI document says. The weather is made up, the same for a city and day.
func Upstream(now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /current/{city}", func(w http.ResponseWriter, r *http.Request) {
		city := r.PathValue("city")
		if strings.EqualFold(city, "atlantis") {
			answer(w, http.StatusNotFound, map[string]string{"error": "no such city"})
			return
		}
		answer(w, http.StatusOK, map[string]any{"city": city, "celsius": celsius(city, now()), "at": now().UTC().Format(time.RFC3339)})
	})
	mux.HandleFunc("POST /forecasts", func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Cities []string `json:"cities"`
			Days   int      `json:"days"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Days < 1 || len(request.Cities) == 0 {
			answer(w, http.StatusBadRequest, map[string]string{"error": "cities and days are needed"})
			return
		}
		w.Header().Set("Tollgate-Usage", fmt.Sprintf("forecast-day=%d", len(request.Cities)*request.Days))
		answer(w, http.StatusOK, forecasts(request.Cities, request.Days, now()))
	})
	return mux
}

func forecasts(cities []string, days int, now time.Time) []map[string]any {
	all := []map[string]any{}
	for _, city := range cities {
		var list []map[string]any
		for d := range days {
			day := now.AddDate(0, 0, d)
			mean := celsius(city, day)
			list = append(list, map[string]any{"date": day.UTC().Format(time.DateOnly), "low": mean - 4, "high": mean + 4})
		}
		all = append(all, map[string]any{"city": city, "days": list})
	}
	return all
}

func celsius(city string, day time.Time) float64 {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, strings.ToLower(city), day.UTC().YearDay())
	return float64(h.Sum32()%400)/10 - 10
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
