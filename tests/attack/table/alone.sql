-- The same database, had the other organization never been there. Rows that refer to its rows keep
-- their references. Its own rows need not say whose they are.
set session_replication_role = replica;
delete from organizations where id <> '11111111-1111-4111-8111-111111111111';
delete from profiles where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from projects where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from events where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from comments where event_id not in (select id from events);
delete from mentions where event_id not in (select id from events);
delete from event_tags where event_id not in (select id from events);
delete from staff where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from tags where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from settings where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from pages where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from templates where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from notes where organization_id is distinct from '11111111-1111-4111-8111-111111111111';
delete from tickets where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from guarded where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from secrets where organization_id <> '11111111-1111-4111-8111-111111111111';
set session_replication_role = origin;

alter table projects alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table events alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table tags alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table settings alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table pages alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table templates alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table notes alter organization_id set default '11111111-1111-4111-8111-111111111111';
alter table tickets alter organization_id set default '11111111-1111-4111-8111-111111111111';
