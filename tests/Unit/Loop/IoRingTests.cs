using System.IO.Pipes;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Loop;

namespace Pollux.Tests.Unit.Loop;

/// <summary>Needs a kernel that grants an io_uring.</summary>
internal sealed class RingFactAttribute : FactAttribute
{
    public RingFactAttribute()
    {
        using var ring = IoRing.TryOpen();
        if (ring is null)
            Skip = "this kernel grants no io_uring";
    }
}

public sealed unsafe class IoRingTests : IDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [RingFact]
    public void More_reads_than_one_call_submits_each_get_their_own_bytes()
    {
        const int Reads = IoRing.InFlightMax;
        File.WriteAllBytes(_path, [.. Enumerable.Range(0, Reads * 16).Select(static i => (byte)(i / 16))]);
        using var file = File.OpenHandle(_path);
        using var ring = IoRing.TryOpen()!;
        var target = (byte*)NativeMemory.AllocZeroed(Reads, 16);
        var works = Enumerable.Range(0, Reads).Select(static _ => new Work()).ToArray();
        for (var i = 0; i < Reads; i++)
            Assert.True(ring.TryRead(Number(file), target + (i * 16), 16, i * 16, works[i]));
        Assert.False(ring.TryRead(Number(file), target, 16, 0, new Work()), "one more than is ever in flight");
        Finish(ring);
        for (var i = 0; i < Reads; i++)
        {
            Assert.Equal(16, works[i].Result);
            Assert.Equal((byte)i, target[(i * 16) + 15]);
        }
        NativeMemory.Free(target);
    }

    [RingFact]
    public void An_error_is_told_as_its_number_and_the_end_of_a_file_as_fewer_bytes()
    {
        File.WriteAllBytes(_path, [1, 2, 3]);
        using var ring = IoRing.TryOpen()!;
        var target = stackalloc byte[8];
        var (cut, refused) = (new Work(), new Work());
        using var readable = File.OpenHandle(_path);
        using var writable = File.OpenHandle(_path, FileMode.Open, FileAccess.Write);
        Assert.True(ring.TryRead(Number(readable), target, 8, 1, cut));
        Assert.True(ring.TryRead(Number(writable), target, 8, 0, refused));
        Finish(ring);
        Assert.Equal((2, (byte)2, (byte)3), (cut.Result, target[0], target[1]));
        Assert.Equal(-DataPlane.Native.Errno.EBADF, refused.Result);
    }

    [RingFact]
    public void A_loop_goes_on_while_a_read_waits_and_is_woken_at_once_by_its_end()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        using var reader = new SafeFileHandle((nint)int.Parse(pipe.GetClientHandleAsString()), ownsHandle: false);
        using var place = new Place();
        var target = (byte*)NativeMemory.AllocZeroed(1);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        for (var i = 1; i <= 100; i++)
        {
            var work = new Work();
            var began = new TaskCompletionSource<bool>();
            place.Loop.Post(() => began.SetResult(place.Loop.Ring!.TryRead(Number(reader), target, 1, -1, work)));
            Assert.True(began.Task.WaitAsync(Deadline).GetAwaiter().GetResult());
            using var passed = new ManualResetEventSlim();
            place.Loop.Post(passed.Set);
            Assert.True(passed.Wait(Deadline));
            Assert.False(work.Ended.IsSet);
            pipe.WriteByte((byte)i);
            Assert.True(work.Ended.Wait(Deadline));
            Assert.Equal((1, (byte)i), (work.Result, *target));
        }
        // By the tick alone it would take 10 s.
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 5);
        place.End();
        Assert.True(place.Loop.EndedClean);
        NativeMemory.Free(target);
    }

    [RingFact]
    public void A_loop_that_is_to_end_waits_for_what_is_in_flight()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        using var reader = new SafeFileHandle((nint)int.Parse(pipe.GetClientHandleAsString()), ownsHandle: false);
        var place = new Place();
        var target = (byte*)NativeMemory.AllocZeroed(1);
        var work = new Work();
        place.Loop.Post(() => Assert.True(place.Loop.Ring!.TryRead(Number(reader), target, 1, -1, work)));
        place.Loop.Dispose();
        Assert.False(place.Loop.Join(TimeSpan.FromMilliseconds(50)));
        pipe.WriteByte(9);
        place.End();
        Assert.Equal(1, work.Result);
        Assert.True(place.Loop.EndedClean);
        NativeMemory.Free(target);
    }

    private static void Finish(IoRing ring) => Assert.True(SpinWait.SpinUntil(() => ring.Run() && ring.Open == 0, Deadline));

    private static int Number(SafeFileHandle file) => (int)file.DangerousGetHandle();

    private sealed class Work : RingWork
    {
        public int Result { get; private set; } = int.MinValue;

        public ManualResetEventSlim Ended { get; } = new();

        public override void Completed(int result)
        {
            Result = result;
            Ended.Set();
        }
    }

    private sealed class Place : ILoopOwner, IDisposable
    {
        public Place()
        {
            Loop = new EventLoop("test", this, static e => throw e);
            Loop.Start();
        }

        public EventLoop Loop { get; }

        public void EndTurn()
        {
        }

        public void Tick(long nowMs)
        {
        }

        public void End()
        {
            Loop.Dispose();
            Assert.True(Loop.Join(Deadline));
        }

        public void Dispose() => Loop.Dispose();
    }
}
