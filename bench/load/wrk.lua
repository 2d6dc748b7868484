-- Saturated HTTP load: one request after the other on every connection, from a file of ready bodies.
-- Arguments after `--`: METHOD PATH CONTENT_TYPE KEYS BODY_FILE [HEADER VALUE]
-- `{key}` in PATH and in the body becomes 1..KEYS in turn. An empty BODY_FILE ("-") means no body.
-- Prints one JSON line at the end; latencies are in microseconds.

local requests, position = {}, 0

function init(args)
  local method, path, content_type, keys, body_file = args[1], args[2], args[3], tonumber(args[4]), args[5]
  local headers = {}
  local body
  if body_file ~= "-" then
    local file = assert(io.open(body_file, "rb"))
    body = file:read("*a")
    file:close()
    headers["Content-Type"] = content_type
  end
  if args[6] then headers[args[6]] = args[7] end
  for key = 1, keys do
    local filled = body and (body:gsub("{key}", tostring(key)))
    requests[key] = wrk.format(method, (path:gsub("{key}", tostring(key))), headers, filled)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%.1f,"p90_us":%.1f,"p99_us":%.1f,"errors":%d}',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
