// Example client for a running mesh in Node.js: SERVICE_API_KEY_FILE=.data/keys/operator node call_a_service.mjs
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

// `buf export` writes this folder, beside this file.
const protos = loader.loadSync("solo60/gym/v1/gym.proto", { includeDirs: [`${import.meta.dirname}/proto`], keepCase: true });
const { GymService } = grpc.loadPackageDefinition(protos).solo60.gym.v1;
const gyms = new GymService(process.env.GYM_SERVICE_URL ?? "127.0.0.1:50053", grpc.credentials.createInsecure());

const metadata = new grpc.Metadata();
metadata.set("x-api-key", readFileSync(process.env.SERVICE_API_KEY_FILE, "utf8").trim());
// Every call needs a deadline: the one in the contract, or less.
const deadline = Date.now() + 2000;

gyms.ListGyms({ page_size: 3 }, metadata, { deadline }, (error, answer) => {
  if (error) console.log(grpc.status[error.code], error.metadata.get("x-correlation-id")[0], error.details);
  else for (const gym of answer.gyms) console.log(gym.gym_id, gym.name);
  gyms.close();
});
