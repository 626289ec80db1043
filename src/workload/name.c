/* SPDX-License-Identifier: Apache-2.0
 *
 * name.c: an adjective and an animal: easy to say, easy to tell apart in `paravane ps`.
 */
#include "workload/name.h"

#include "base/str.h"

static const char *const adjectives[] = {
    "able",   "amber",  "ample",  "arctic", "azure",  "bold",    "brave",  "bright", "brisk",
    "broad",  "calm",   "candid", "civil",  "clear",  "clever",  "cosmic", "crisp",  "deep",
    "eager",  "early",  "exact",  "fair",   "firm",   "fleet",   "fresh",  "gentle", "golden",
    "grand",  "hardy",  "honest", "humble", "jolly",  "keen",    "kind",   "lively", "loyal",
    "lucid",  "lunar",  "mellow", "merry",  "mild",   "modest",  "neat",   "noble",  "patient",
    "plain",  "polite", "prompt", "proud",  "quick",  "quiet",   "rapid",  "ready",  "robust",
    "royal",  "rustic", "sharp",  "silent", "silver", "sincere", "smooth", "solid",  "spry",
    "steady", "stout",  "sunny",  "swift",  "tidy",   "vivid",   "warm",   "wise",   "witty",
};

static const char *const animals[] = {
    "alpaca",   "auk",    "badger",  "beaver", "bison",   "bittern", "camel",   "caracal",
    "civet",    "condor", "coot",    "coyote", "crane",   "curlew",  "dipper",  "dolphin",
    "dunlin",   "eider",  "elk",     "ermine", "falcon",  "ferret",  "finch",   "gannet",
    "gecko",    "gibbon", "grebe",   "grouse", "gull",    "hare",    "harrier", "heron",
    "hoopoe",   "ibex",   "ibis",    "jackal", "kestrel", "kite",    "lapwing", "lemur",
    "linnet",   "loon",   "lynx",    "marmot", "marten",  "merlin",  "moose",   "newt",
    "nuthatch", "ocelot", "osprey",  "otter",  "petrel",  "pipit",   "plover",  "puffin",
    "quail",    "raven",  "redpoll", "sable",  "seal",    "shrike",  "siskin",  "skua",
    "stoat",    "swan",   "tapir",   "teal",   "tern",    "thrush",  "walrus",  "wren",
};

char *workload_name_make(uint32_t random, unsigned try_number)
{
    const char *adjective = adjectives[random % PV_ARRAY_SIZE(adjectives)];
    const char *animal = animals[random / PV_ARRAY_SIZE(adjectives) % PV_ARRAY_SIZE(animals)];
    if (try_number > 0)
        return pv_strf("%s_%s%u", adjective, animal, try_number);
    return pv_strf("%s_%s", adjective, animal);
}
