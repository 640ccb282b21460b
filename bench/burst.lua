-- Each thread has one connection: it registers a new user, signs out, and begins again.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local made, cookie = 0, nil

function init(args)
  run = tostring(args[1])
end

function request()
  made = made + 1
  local headers = {
    ["Content-Type"] = "application/json",
    ["X-Forwarded-For"] = string.format("198.51.%d.%d", number, made % 256),
  }
  if cookie then
    headers["Cookie"] = cookie
    return wrk.format("POST", "/api/auth/logout", headers, "")
  end
  local email = string.format("u-%s-%d-%d@example.com", run, number, made)
  local body = string.format('{"email": "%s", "password": "correct horse battery", "name": "Ada"}', email)
  return wrk.format("POST", "/api/auth/register", headers, body)
end

function response(status, headers)
  local was_signed_in = cookie
  cookie = nil
  for name, value in pairs(headers) do
    if not was_signed_in and status == 201 and string.lower(name) == "set-cookie" then
      cookie = string.match(value, "^[^;]+")
    end
  end
end
