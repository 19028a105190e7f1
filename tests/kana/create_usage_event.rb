# Records a use as a backend written for Kana does: variables as a string, a bare key. Only the address is another one.
require "json"
require "net/http"

uri = URI(ENV.fetch("KANA_URL"))
mutation = <<~GRAPHQL
  mutation createUsageEvent($input: CreateUsageEventInput!) {
    createUsageEvent(input: $input)
  }
GRAPHQL
variables = { input: { userId: ENV.fetch("USER_ID"), featureId: ENV.fetch("FEATURE_ID"), delta: 2 } }
body = { query: mutation, variables: variables.to_json }
headers = { "Content-Type" => "application/json", "Authorization" => ENV.fetch("KANA_KEY") }
response = Net::HTTP.post(uri, body.to_json, headers)
result = JSON.parse(response.body)
raise result["errors"].first["message"] if result["errors"]

puts result["data"]["createUsageEvent"]
