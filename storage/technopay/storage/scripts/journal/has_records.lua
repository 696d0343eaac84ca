-- has_records(user_id) no-writes
--
-- Return whether a user has a payment, an invoice or a wallet.
--
-- Returns {code, now, '', 1 or 0}

local has_any = exists('invoices', user_id) or exists('payments', user_id) or #wallets_of(user_id) > 0
return {'ok', at, '', has_any and 1 or 0}
