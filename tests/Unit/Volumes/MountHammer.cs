using System.Text;
using Pollux.DataPlane.Native;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>A process of its own that uses a mount without a pause, one thread for each kind of work. Each thread knows what every call of it must
/// find and give, so a call that is lost, done twice or ends wrongly is an error. Ends when its standard input does.</summary>
internal static unsafe class MountHammer
{
    private const int BlockBytes = 16 * 1024;
    private const int Blocks = 64;
    private const uint Mode = 0x1B4;

    private static readonly (string Name, Action<string, Func<bool>> Work)[] s_workers =
    [
        ("content", Content), ("names", Names), ("links", Links), ("exchange", Exchange), ("directories", Directories), ("size", Size),
    ];

    public static IEnumerable<string> Workers => s_workers.Select(static worker => worker.Name);

    public static int Run(string root)
    {
        var ended = false;
        var threads = s_workers.Select(worker => new Thread(() =>
        {
            var path = Directory.CreateDirectory(Path.Combine(root, worker.Name)).FullName;
            var rounds = 0L;
            try
            {
                worker.Work(path, () =>
                {
                    rounds++;
                    return !Volatile.Read(ref ended);
                });
                Console.Out.WriteLine($"{worker.Name}: ok after {rounds}");
            }
            catch (IOException e)
            {
                Console.Out.WriteLine($"{worker.Name}: {e.Message} (round {rounds})");
            }
        })).ToArray();
        Array.ForEach(threads, static thread => thread.Start());
        Console.Out.WriteLine("hammering");
        while (Console.In.ReadLine() is not null)
        {
        }

        Volatile.Write(ref ended, true);
        Array.ForEach(threads, static thread => thread.Join());
        return 0;
    }

    /// <summary>Blocks with their number and round, read back; flushed now and then.</summary>
    private static void Content(string path, Func<bool> goOn)
    {
        var fd = Checked("open", Name(path + "/f", name => Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.Create | OpenFlags.ReadWrite | OpenFlags.CloseOnExec, Mode)));
        var block = new byte[BlockBytes];
        var back = new byte[BlockBytes];
        fixed (byte* written = block, read = back)
        {
            for (var round = 1L; goOn(); round++)
            {
                block.AsSpan().Fill((byte)round);
                var offset = round % Blocks * BlockBytes;
                Checked("write", (int)Libc.PWrite(fd, written, BlockBytes, offset), BlockBytes);
                if (round % 8 == 0)
                    Checked("fsync", Libc.FSync(fd), 0);
                Checked("read", (int)Libc.PRead(fd, read, BlockBytes, offset), BlockBytes);
                if (!block.AsSpan().SequenceEqual(back))
                    throw new IOException("a block holds something else than was written");
            }
        }
    }

    /// <summary>One file comes, is renamed, and goes.</summary>
    private static void Names(string path, Func<bool> goOn)
    {
        while (goOn())
        {
            var fd = Checked("create", Name(path + "/a", static name =>
                Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.WriteOnly | OpenFlags.CloseOnExec, Mode)));
            Checked("close", Libc.Close(fd), 0);
            Checked("rename", Two(path + "/a", path + "/b", 0), 0);
            Checked("unlink", Name(path + "/b", static name => Libc.UnlinkAt(Libc.AtCurrentDirectory, name, 0)), 0);
        }
    }

    private static void Links(string path, Func<bool> goOn)
    {
        File.WriteAllText(path + "/a", "linked");
        while (goOn())
        {
            Checked("link", Name(path + "/a", old =>
            {
                fixed (byte* name = Encoding.UTF8.GetBytes(path + "/b\0"))
                    return Libc.LinkAt(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, name, 0);
            }), 0);
            Checked("unlink", Name(path + "/b", static name => Libc.UnlinkAt(Libc.AtCurrentDirectory, name, 0)), 0);
        }
    }

    /// <summary>Two files change places: after each time they must have changed exactly once.</summary>
    private static void Exchange(string path, Func<bool> goOn)
    {
        string first = path + "/first", second = path + "/second";
        File.WriteAllText(first, "0");
        File.WriteAllText(second, "1");
        for (var round = 1; goOn(); round++)
        {
            Checked("exchange", Two(first, second, Libc.RenameExchange), 0);
            if (File.ReadAllText(first) != $"{round % 2}")
                throw new IOException("an exchange was done twice or not at all");
        }
    }

    private static void Directories(string path, Func<bool> goOn)
    {
        while (goOn())
        {
            Checked("mkdir", Name(path + "/d", static name => Libc.MkDirAt(Libc.AtCurrentDirectory, name, 0x1FF)), 0);
            Checked("rmdir", Name(path + "/d", static name => Libc.UnlinkAt(Libc.AtCurrentDirectory, name, Libc.AtRemoveDirectory)), 0);
        }
    }

    private static void Size(string path, Func<bool> goOn)
    {
        using var file = File.OpenHandle(path + "/f", FileMode.CreateNew, FileAccess.ReadWrite);
        for (var round = 1L; goOn(); round++)
        {
            RandomAccess.SetLength(file, round % 1000);
            if (RandomAccess.GetLength(file) != round % 1000)
                throw new IOException("a file has another length than it was given");
        }
    }

    private delegate int OfName(byte* name);

    private static int Name(string path, OfName call)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            return call(name);
    }

    private static int Two(string first, string second, uint flags) => Name(first, old =>
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(second + '\0'))
            return Libc.RenameAt2(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, name, flags);
    });

    private static int Checked(string call, int result, int? expected = null) =>
        result >= 0 && (expected is null || result == expected) ? result : throw new IOException($"{call}: {(result < 0 ? Errno.Describe(Libc.LastErrno) : $"returned {result}")}");
}
