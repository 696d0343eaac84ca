-- deposit(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, wallet, amount])
--
-- Put money into a wallet, whatever its status.
--
-- amount  digits, 1 to 2^53 - 1; what the wallet holds and may yet get back has to stay within that, too
--
-- Returns {code, now, token, {wallet, fields}}
--@include base
--@include operation
--@include lease
--@include amount
--@include record

local operation, fingerprint, kept_ms, owner, token, keep_it, id, amount = unpack(ARGV, 1, 8)
require_amount(amount, 1)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local wallet = read('wallet', id)
if not wallet then
    return {'wallet_not_found', at, ''}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end

local function answer(code)
    return {code, at, close_lease(id, wallet, owner, keep_it), {id, flat(wallet)}}
end

if tonumber(amount) > MAX_AMOUNT - tonumber(wallet.ledger) then
    return answer('balance_too_large')
end
require_integer(wallet.balance)
require_integer(wallet.ledger)
redis.call('LLEN', key('entries', id)) -- it has to be a list before anything is written
wallet.balance = int(redis.call('HINCRBY', key('wallet', id), 'balance', amount))
redis.call('HINCRBY', key('wallet', id), 'ledger', amount)
local entry = append('wallet.deposited', id, 'amount', amount, 'balance', wallet.balance)
redis.call('RPUSH', key('entries', id), entry)
return keep(operation, fingerprint, kept_ms, answer('ok'))
