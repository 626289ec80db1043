// SPDX-License-Identifier: Apache-2.0
//
// Compute.java: what javac compiles in tests/bench/programs, and what computes in threads then: each
// moves bodies that attract each other, and the milliseconds until the last one has ended are printed.
//
// Usage: java Compute THREADS

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

public final class Compute {
    private static final int BODIES = 5;
    private static final int STEPS = 5_000_000;
    private static final double STEP = 0.001;

    record Vector(double x, double y, double z) {
        Vector plus(Vector other, double factor) {
            return new Vector(x + other.x * factor, y + other.y * factor, z + other.z * factor);
        }

        double length() {
            return Math.sqrt(x * x + y * y + z * z);
        }
    }

    static final class Body {
        double x, y, z, vx, vy, vz;
        final double mass;

        Body(Vector place, Vector speed, double mass) {
            this.x = place.x();
            this.y = place.y();
            this.z = place.z();
            this.vx = speed.x();
            this.vy = speed.y();
            this.vz = speed.z();
            this.mass = mass;
        }

        Vector momentum() {
            return new Vector(vx * mass, vy * mass, vz * mass);
        }
    }

    static final class World implements Callable<Double> {
        private final Body[] bodies;

        World(int seed) {
            List<Body> made = IntStream.range(0, BODIES).mapToObj(i -> {
                double angle = 2 * Math.PI * i / BODIES + seed;
                Vector place = new Vector(Math.cos(angle), Math.sin(angle), 0.1 * i).plus(
                    new Vector(1, 1, 1), 0.01 * i);
                Vector speed = new Vector(-Math.sin(angle), Math.cos(angle), 0);
                return new Body(place, speed, 1.0 / (i + 1));
            }).collect(Collectors.toList());
            bodies = made.toArray(new Body[0]);
        }

        private void attract(Body a, Body b) {
            double dx = a.x - b.x, dy = a.y - b.y, dz = a.z - b.z;
            double square = dx * dx + dy * dy + dz * dz + 0.01;
            double pull = STEP / (square * Math.sqrt(square));
            a.vx -= dx * b.mass * pull;
            a.vy -= dy * b.mass * pull;
            a.vz -= dz * b.mass * pull;
            b.vx += dx * a.mass * pull;
            b.vy += dy * a.mass * pull;
            b.vz += dz * a.mass * pull;
        }

        private void step() {
            for (int i = 0; i < bodies.length; i++) {
                for (int j = i + 1; j < bodies.length; j++) {
                    attract(bodies[i], bodies[j]);
                }
            }
            for (Body body : bodies) {
                body.x += STEP * body.vx;
                body.y += STEP * body.vy;
                body.z += STEP * body.vz;
            }
        }

        @Override
        public Double call() {
            for (int i = 0; i < STEPS; i++) {
                step();
            }
            Vector sum = new Vector(0, 0, 0);
            for (Body body : bodies) {
                sum = sum.plus(body.momentum(), 1);
            }
            return sum.length();
        }
    }

    public static void main(String[] words) throws Exception {
        int threads = Integer.parseInt(words[0]);
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        long begin = System.nanoTime();
        List<Future<Double>> futures = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            futures.add(pool.submit(new World(i)));
        }
        double sum = 0;
        for (Future<Double> future : futures) {
            sum += future.get();
        }
        double taken = (System.nanoTime() - begin) / 1e6;
        pool.shutdown();
        System.out.printf(Locale.ROOT, "ms: %.1f momentum: %.6f%n", taken, sum);
    }
}
