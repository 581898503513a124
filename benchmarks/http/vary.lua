-- wrk: a trace id and a cookie that differ from request to request, as behind a tracing client or many users of one.
-- Arguments: the head's lines that stay the same, Host among them.
local N = 997 -- prime, so that no connection of a round number of them meets its own request again soon
local requests, turn = {}, 0

function init(args)
  for i = 1, N do
    local id = string.format("%08x", i * 2654435761 % 4294967296)
    requests[i] = "GET /api/v1/items?id=42 HTTP/1.1\r\n" .. args[1] .. "traceparent: 00-" .. string.rep(id, 4) .. "-"
      .. id .. id .. "-01\r\nCookie: session=" .. string.rep(id, 4) .. "; theme=dark\r\n\r\n"
  end
end

function request()
  turn = turn % N + 1
  return requests[turn]
end
