-- wrk: requests over several hosts, spread evenly over the table.
-- Arguments: hosts configured, hosts to ask for, the head without its Host line.
local requests, n, turn = {}, 0, 0

function init(args)
  local hosts, fields = tonumber(args[1]), args[3]
  n = tonumber(args[2])
  for i = 1, n do
    local host = string.format("h%05d.example.com", math.floor((i - 1) * hosts / n))
    requests[i] = "GET /api/v1/items?id=42 HTTP/1.1\r\nHost: " .. host .. "\r\n" .. fields .. "\r\n"
  end
end

function request()
  turn = turn % n + 1
  return requests[turn]
end
