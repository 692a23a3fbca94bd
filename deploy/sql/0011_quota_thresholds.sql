-- Shares of quotas that organizations have reached. A row says who tells of it, and when that was
-- done, so that each is told once in a period whatever number of gateways sees it.

create table if not exists tollgate.quota_thresholds (
    organization_id uuid not null,
    -- Its name in the policies.
    quota text not null,
    period text not null
        constraint quota_thresholds_period_is_known check (period in ('day', 'month')),
    -- The first day of the period, where the organization is.
    begins date not null,
    percent integer not null,
    -- What was used, of which amount, when it was seen.
    used bigint not null,
    amount bigint not null,
    -- `server.node` of the gateway that tells of it, and an id of its process.
    node text not null,
    claimed_by uuid not null,
    claimed_at timestamptz not null default now(),
    told_at timestamptz,
    primary key (organization_id, quota, period, begins, percent)
);
