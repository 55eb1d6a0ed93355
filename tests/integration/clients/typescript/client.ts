// A client whose types are made of /openapi.json: `tsc` checks it, node runs it. Prints one document.
import createClient from "openapi-fetch";
import type { paths } from "./ritmo.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });
const { data, error } = await client.POST("/forecast", {
  body: { inputs: [{ target: [1, 2, null, 4], start: "2024-01-01", freq: "D" }], parameters: { prediction_length: 3 } },
});
if (data === undefined) throw new Error(error.detail);
const first = data.predictions[0];
const refused = await client.POST("/forecast", { body: { inputs: [{ target: [] }] } });
const scores = await client.POST("/backtest", {
  body: { inputs: [{ target: Array.from({ length: 40 }, (_, i) => i % 4) }], parameters: { prediction_length: 4 } },
});
const models = await client.GET("/models");
console.log(JSON.stringify({
  mean: first.mean,
  timestamps: first.timestamps,
  code: refused.error?.code,
  best: scores.data?.best,
  models: models.data?.models.map((model) => model.name),
}));
