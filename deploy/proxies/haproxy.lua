-- Asks Stateroom who sent a request, through `listen ask` of haproxy.cfg, which bounds the time. If the request may not pass, the
-- client gets Stateroom's own response: a redirect to the sign-in, a page, or a problem document.

local ADDRESS = "http://127.0.0.1:8001/auth/forward"
local TIMEOUT_MS = 4000

-- Stateroom gets the request's headers. It also looks for its credentials where they do not belong, and refuses such a request.
-- These are about the connection, or set below.
local NOT_ASKED_WITH = {
  ["host"] = true, ["connection"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["te"] = true, ["upgrade"] = true,
  ["expect"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["trailer"] = true,
  ["x-forwarded-method"] = true, ["x-forwarded-proto"] = true, ["x-forwarded-host"] = true, ["x-forwarded-uri"] = true,
  ["x-forwarded-for"] = true,
}
local ANSWERED = {
  user = "remote-user",
  email = "remote-email",
  name = "remote-name",
  groups = "remote-groups",
  assertion = "remote-assertion",
  degraded = "remote-session-degraded",
  cookie = "cookie",
  authorization = "authorization",
  renewed = "set-cookie",
}
local REFUSALS = { [302] = true, [400] = true, [401] = true, [403] = true, [431] = true, [503] = true }
-- These belong to the connection between HAProxy and Stateroom.
local OF_CONNECTION = { ["connection"] = true, ["content-length"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true }

-- HAProxy counts the values of a header from 0.
local function all(headers, name)
  local values = {}
  local at = 0
  while headers and headers[name] and headers[name][at] do
    values[at + 1] = headers[name][at]
    at = at + 1
  end
  return values
end

local function first(headers, name)
  return all(headers, name)[1] or ""
end

-- A missing or unknown response becomes 503. Otherwise a user would count as signed out.
local function refuse(txn, answer)
  local status, headers, body = answer.status, {}, answer.body or ""
  if not REFUSALS[status] then
    status, answer, body = 503, {}, ""
  end
  for name in pairs(answer.headers or {}) do
    if not OF_CONNECTION[name] and not name:find("^remote%-") then headers[name] = all(answer.headers, name) end
  end
  if status == 503 and not headers["retry-after"] then headers["retry-after"] = { "1" } end
  if txn.f:method() == "HEAD" then body = "" end
  txn:done(txn:reply{ status = status, headers = headers, body = body })
end

core.register_action("stateroom", { "http-req" }, function(txn)
  local sent = txn.http:req_get_headers()
  local headers = {
    ["x-forwarded-method"] = { txn.f:method() },
    ["x-forwarded-proto"] = { first(sent, "x-forwarded-proto") },
    ["x-forwarded-host"] = { first(sent, "x-forwarded-host") },
    -- Without scheme and host, which an HTTP/2 request and some HTTP/1.1 requests have here.
    ["x-forwarded-uri"] = { txn.f:pathq() },
    ["x-forwarded-for"] = { txn.f:src() },
  }
  for name in pairs(sent) do
    -- The client accepts one value per header. Two cookie headers are the parts of one (RFC 9113, section 8.2.3).
    if not NOT_ASKED_WITH[name] then headers[name] = { table.concat(all(sent, name), name == "cookie" and "; " or ", ") } end
  end
  local answer = core.httpclient():get{ url = ADDRESS, headers = headers, timeout = TIMEOUT_MS }
  if answer.status ~= 200 then return refuse(txn, answer) end
  txn:set_var("txn.stateroom_status", answer.status)
  for variable, name in pairs(ANSWERED) do
    txn:set_var("txn.stateroom_" .. variable, first(answer.headers, name))
  end
end)
