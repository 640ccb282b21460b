-- wrk: authenticated checks of many sessions in turn. The first argument is a file with one cookie per line.
local cookies, at = {}, 0

function init(args)
  for line in io.lines(args[1]) do cookies[#cookies + 1] = line end
end

function request()
  at = at % #cookies + 1
  return wrk.format("GET", "/api/auth/check", {Cookie = cookies[at]})
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
