-- has_records(user_id) no-writes
--
-- Return whether a user has a payment or an invoice.
--
-- Returns {code, now, '', 1 or 0}

return {'ok', at, '', (exists('invoices', user_id) or exists('payments', user_id)) and 1 or 0}
