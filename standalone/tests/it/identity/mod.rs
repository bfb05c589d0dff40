//! Who may do what: the whole system, protected, asked by everybody in every way.

mod answer;
mod live;
mod operations;
mod secrets;
mod system;
mod table;
