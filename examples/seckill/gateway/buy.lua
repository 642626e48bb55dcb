-- SPDX-License-Identifier: BSD-2-Clause
--
-- buy.lua: users of the flash sale, for wrk, which counts every answer:
--
--	wrk -t THREADS -c CONNECTIONS -d LIMIT -s buy.lua URL -- SECONDS BUYS ITEMS
--
-- Each thread buys for so many seconds, but not more than BUYS times, and then waits for the answers
-- that are out, so that none is lost: what wrk has in flight when it ends it does not count. Then it
-- says "answered" on standard error. wrk itself goes on until LIMIT or SIGINT, and prints a line for
-- each answer: "answered STATUS COUNT RESULT". Its exit status says nothing.

local headers = { ["Content-Length"] = "0" }
local threads = {}

-- ---- In wrk itself -----------------------------------------------------------------------------

function setup(thread)
	table.insert(threads, thread)
	thread:set("number", #threads)
end

function done()
	local sent, sum = 0, {}
	for _, thread in ipairs(threads) do
		sent = sent + thread:get("sent")
		for what, count in pairs(thread:get("answers")) do
			sum[what] = (sum[what] or 0) + count
		end
	end
	print("sent " .. sent)
	for what, count in pairs(sum) do
		local status, result = what:match("^(%d+) (.*)$")
		print(("answered %s %d %s"):format(status, count, result))
	end
end

-- ---- In each thread ----------------------------------------------------------------------------

function init(arguments)
	seconds = tonumber(arguments[1])
	quota = tonumber(arguments[2])
	items = tonumber(arguments[3])
	first = number * 100000000
	users, sent, received, answers = 0, 0, 0, {}
	has_been_asked, has_stopped = false, false
	math.randomseed(number)
end

-- Most are new; one in ten has been there before, and has perhaps bought already.
local function next_user()
	if users > 0 and math.random(10) == 1 then
		return first + math.random(users)
	end
	users = users + 1
	return first + users
end

-- wrk asks for one request that it does not send, to see what they are like. And once all is bought
-- there has to be something for the connections that have their answers.
function request()
	if not has_been_asked then
		has_been_asked = true
		return wrk.format("GET", "/healthz")
	end
	-- From the first one on: on a busy machine that may be more than a second after init.
	ends = ends or os.time() + seconds
	if os.time() >= ends then
		quota = sent
	end
	if sent == quota then
		return wrk.format("GET", "/healthz")
	end
	sent = sent + 1
	return wrk.format("POST", ("/buy?user=%d&item=%d&quantity=%d"):format(next_user(),
		math.random(items), math.random(3)), headers)
end

function response(status, _, body)
	if body ~= "ok\n" then
		local result = body:match('"result":"([^"]*)"') or "unknown"
		local what = status .. " " .. result
		answers[what] = (answers[what] or 0) + 1
		received = received + 1
	end
	-- Answers of other connections may still come after stop.
	if received == quota and sent == quota and not has_stopped then
		has_stopped = true
		io.stderr:write("answered\n")
		wrk.thread:stop()
	end
end
