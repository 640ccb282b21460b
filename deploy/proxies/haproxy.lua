-- Asks Stateroom who sent a request. haproxy.cfg says what to do with the response.

local ADDRESS = "http://127.0.0.1:8080/auth/forward"
local TIMEOUT_MS = 2000

-- The headers that Stateroom needs: the credential, and whether the request is a visit of a page.
local ASKED_WITH = { "cookie", "authorization", "accept", "sec-fetch-mode", "x-session-renew" }
local ANSWERED = {
  user = "remote-user",
  email = "remote-email",
  name = "remote-name",
  degraded = "remote-session-degraded",
  cookie = "cookie",
  authorization = "authorization",
  renewed = "set-cookie",
  location = "location",
}

local function first(headers, name)
  return headers[name] and headers[name][0] or ""
end

core.register_action("stateroom", { "http-req" }, function(txn)
  local sent = txn.http:req_get_headers()
  local headers = {
    ["x-forwarded-method"] = { txn.f:method() },
    ["x-forwarded-proto"] = { first(sent, "x-forwarded-proto") },
    ["x-forwarded-host"] = { first(sent, "x-forwarded-host") },
    ["x-forwarded-uri"] = { txn.f:url() },
    ["x-forwarded-for"] = { txn.f:src() },
  }
  for _, name in ipairs(ASKED_WITH) do
    local values = {}
    local at = 0
    while sent[name] and sent[name][at] do
      values[at + 1] = sent[name][at]
      at = at + 1
    end
    -- The client accepts one value per header. Two cookie headers are the parts of one (RFC 9113, section 8.2.3).
    if at > 0 then headers[name] = { table.concat(values, name == "cookie" and "; " or ", ") } end
  end
  -- A missing response becomes 503. Otherwise a user would count as signed out.
  local answer = core.httpclient():get{ url = ADDRESS, headers = headers, timeout = TIMEOUT_MS }
  txn:set_var("txn.stateroom_status", answer.status)
  for variable, name in pairs(ANSWERED) do
    txn:set_var("txn.stateroom_" .. variable, first(answer.headers, name))
  end
end)
