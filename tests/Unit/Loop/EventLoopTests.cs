using Pollux.DataPlane.Loop;

namespace Pollux.Tests.Unit.Loop;

public class EventLoopTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);

    [Fact]
    public void Posted_work_is_done_in_order_on_the_loops_thread_however_many_post()
    {
        using var place = new Place();
        const int PerThread = 20_000;
        var next = new int[4];
        var outOfOrder = 0;
        var done = new CountdownEvent(4 * PerThread);
        var threads = Enumerable.Range(0, 4).Select(thread => new Thread(() =>
        {
            for (var i = 0; i < PerThread; i++)
            {
                var number = i;
                place.Loop.Post(() =>
                {
                    if (!place.Loop.IsCurrent || next[thread]++ != number)
                        outOfOrder++;
                    done.Signal();
                });
            }
        })).ToList();
        threads.ForEach(static thread => thread.Start());
        Assert.True(done.Wait(Deadline));
        Assert.Equal(0, outOfOrder);
    }

    [Fact]
    public void A_loop_that_waits_is_woken_at_once_by_each_post()
    {
        using var place = new Place();
        var clock = System.Diagnostics.Stopwatch.StartNew();
        for (var i = 0; i < 200; i++)
        {
            using var done = new ManualResetEventSlim();
            place.Loop.Post(done.Set);
            Assert.True(done.Wait(Deadline));
        }
        // By the tick alone it would take 20 s.
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 5);
    }

    [Fact]
    public void An_exception_ends_the_loop_is_told_and_refuses_further_work()
    {
        using var place = new Place();
        place.Loop.Post(static () => throw new ArithmeticException("broken"));
        Assert.True(place.Faulted.Wait(Deadline));
        Assert.IsType<ArithmeticException>(place.Fault);
        Assert.True(place.Loop.Join(Deadline));
        Assert.False(place.Loop.Post(static () => { }));
    }

    [Fact]
    public void A_turn_that_hangs_is_visible_from_outside()
    {
        using var place = new Place();
        using var release = new ManualResetEventSlim();
        using var hangs = new ManualResetEventSlim();
        place.Loop.Post(() =>
        {
            hangs.Set();
            release.Wait(Deadline);
        });
        Assert.True(hangs.Wait(Deadline));
        SpinWait.SpinUntil(() => place.Loop.TurnMs > 20, Deadline);
        Assert.InRange(place.Loop.TurnMs, 20, long.MaxValue);
        release.Set();
        SpinWait.SpinUntil(() => place.Loop.TurnMs == 0, Deadline);
        Assert.Equal(0, place.Loop.TurnMs);
    }

    [Fact]
    public void A_lane_runs_up_to_its_threads_side_by_side_and_no_more()
    {
        using var lane = new Lane("test", 3, static _ => { });
        using var meeting = new Barrier(3);
        var running = 0;
        var most = 0;
        using var done = new CountdownEvent(30);
        for (var i = 0; i < 30; i++)
        {
            lane.Put(new LoopAction(() =>
            {
                var now = Interlocked.Increment(ref running);
                InterlockedMax(ref most, now);
                meeting.SignalAndWait(Deadline);
                Interlocked.Decrement(ref running);
                done.Signal();
            }));
        }
        Assert.True(done.Wait(Deadline), "three at a time must meet");
        Assert.Equal(3, most);
    }

    [Fact]
    public unsafe void A_buffer_goes_back_when_its_last_reference_is_dropped_and_never_twice()
    {
        using var pool = new BufferPool(2);
        Assert.True(pool.TryRent(out var first));
        Assert.True(pool.TryRent(out _));
        Assert.False(pool.TryRent(out _));
        pool.AddReference(first);
        pool.Release(first);
        Assert.Equal(0, pool.FreeCount);
        pool.Payload(first)[BufferPool.PayloadBytesMax - 1] = 7;
        Assert.Equal(0, (long)pool.Payload(first) % 4096);
        pool.Release(first);
        Assert.True(pool.TryRent(out var again));
        Assert.Equal(first, again);
        pool.Release(again);
        Assert.Throws<InvalidOperationException>(() => pool.Release(again));
    }

    [Fact]
    public unsafe void A_pool_that_is_disposed_twice_takes_no_memory_from_the_next_one()
    {
        var first = new BufferPool(64);
        first.Dispose();
        using var next = new BufferPool(64);
        Assert.True(next.TryRent(out var buffer));
        next.Payload(buffer)[0] = 7;
        first.Dispose();
        Assert.Equal(7, next.Payload(buffer)[0]);
    }

    private static void InterlockedMax(ref int target, int value)
    {
        for (var seen = Volatile.Read(ref target); seen < value; seen = Volatile.Read(ref target))
            Interlocked.CompareExchange(ref target, value, seen);
    }

    private sealed class Place : ILoopOwner, IDisposable
    {
        public Place()
        {
            Loop = new EventLoop("test", this, e =>
            {
                Fault = e;
                Faulted.Set();
            });
            Loop.Start();
        }

        public EventLoop Loop { get; }

        public Exception? Fault { get; private set; }

        public ManualResetEventSlim Faulted { get; } = new();

        public void EndTurn()
        {
        }

        public void Tick(long nowMs)
        {
        }

        public void Dispose()
        {
            Loop.Dispose();
            Assert.True(Loop.Join(Deadline));
        }
    }
}
