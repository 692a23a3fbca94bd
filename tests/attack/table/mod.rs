//! The table of what every request must come to, through the built gateway: client, gateway,
//! PostgREST, and a PostgreSQL without row-level security.
//!
//! Each row is a way to reach into another organization, in many spellings. Of every request the
//! verdict is the one expected, no byte of the answer stands in rows of the other organization
//! only, its rows (and nobody's) are what they were, and what was rewritten is answered as PostgREST
//! answers the request itself where the other organization was never there.

mod bodies;
mod calls;
mod edge;
mod embeds;
mod reads;
mod resources;
mod spelling;
mod world;
mod writes;

use world::World;

#[tokio::test]
async fn filters_widen_no_read() {
    World::start().await.withstands(reads::filters()).await;
}

#[tokio::test]
async fn counts_plans_schemas_and_views_show_no_other_rows() {
    World::start().await.withstands(resources::resources()).await;
}

#[tokio::test]
async fn embeds_lead_to_own_rows_only() {
    World::start().await.withstands(embeds::targets()).await;
}

#[tokio::test]
async fn what_is_computed_or_added_up_is_of_own_rows_only() {
    World::start().await.withstands(embeds::expressions()).await;
}

#[tokio::test]
async fn bodies_write_own_rows_only() {
    World::start().await.withstands(bodies::bodies()).await;
}

#[tokio::test]
async fn upserts_meet_own_rows_only() {
    World::start().await.withstands(writes::upserts()).await;
}

#[tokio::test]
async fn updates_and_deletes_change_own_rows_only() {
    World::start().await.withstands(writes::changes()).await;
}

#[tokio::test]
async fn calls_are_for_the_own_organization_only() {
    World::start().await.withstands(calls::calls()).await;
}

#[tokio::test]
async fn paths_framing_and_identity_open_no_way_around() {
    World::start().await.withstands(edge::edge()).await;
}

#[test]
fn the_table_has_all_its_rows_each_in_several_spellings() {
    let rows = [
        reads::filters(),
        embeds::targets(),
        embeds::expressions(),
        resources::resources(),
        bodies::bodies(),
        writes::upserts(),
        writes::changes(),
        calls::calls(),
        edge::edge(),
    ]
    .concat();
    let mut numbers: Vec<u8> = rows.iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=77).collect::<Vec<u8>>());
    for row in &rows {
        assert!(row.spellings.len() >= 4, "#{} ({})", row.number, row.about);
    }
    let spellings: usize = rows.iter().map(|row| row.spellings.len()).sum();
    assert!(spellings >= 2_000, "{spellings}");
}
