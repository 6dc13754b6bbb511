using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>A process of its own that uses a mount: on "go" it begins one call of each kind, all at once, and says how each ended. Every
/// call has a directory of its own, because the kernel holds a directory locked while its names change.</summary>
internal static unsafe class MountUser
{
    public const int BlockBytes = 64 * 1024;
    private const uint Mode = 0x1B4;

    /// <summary>Name of each call and what it does; below its own directory. All must succeed.</summary>
    private static readonly (string Name, Action<string> Prepare, Func<string, Prepared, string> Call)[] s_calls =
    [
        ("read", path => File.WriteAllBytes(path + "/f", Block(1)), static (_, prepared) => Same(prepared.Read(), 1)),
        ("write", path => File.WriteAllBytes(path + "/f", Block(1)), static (_, prepared) => prepared.Write(Block(2)) is var e and not 0 ? Errno.Describe(e) : Same(prepared.Read(), 2)),
        ("fsync", path => File.WriteAllBytes(path + "/f", Block(1)), static (_, prepared) => Result(Libc.FSync(prepared.Fd))),
        ("truncate", path => File.WriteAllBytes(path + "/f", Block(1)), static (_, prepared) => Result(FTruncate(prepared.Fd, 100))),
        ("allocate", path => File.WriteAllBytes(path + "/f", Block(1)), static (_, prepared) =>
            Result(Libc.FAllocate(prepared.Fd, Libc.FallocatePunchHole | Libc.FallocateKeepSize, 0, 4096))),
        ("create", None, static (path, _) => Created(path, 0)),
        ("create-exclusive", None, static (path, _) => Created(path, OpenFlags.Exclusive)),
        ("mkdir", None, static (path, _) => Named(path + "/new", static name => Libc.MkDirAt(Libc.AtCurrentDirectory, name, 0x1FF))),
        ("symlink", None, static (path, _) => Named(path + "/new", static name =>
        {
            fixed (byte* target = "target\0"u8)
                return Libc.SymlinkAt(target, Libc.AtCurrentDirectory, name);
        })),
        ("link", path => File.WriteAllText(path + "/old", "linked"), static (path, _) => Two(path, static (old, name) =>
            Libc.LinkAt(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, name, 0))),
        ("rename", path => File.WriteAllText(path + "/old", "renamed"), static (path, _) => Two(path, static (old, name) =>
            Libc.RenameAt2(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, name, 0))),
        ("rename-over", Both, static (path, _) => Two(path, static (old, name) =>
            Libc.RenameAt2(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, name, 0))),
        ("exchange", Both, static (path, _) => Two(path, static (old, name) =>
            Libc.RenameAt2(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, name, Libc.RenameExchange))),
        ("unlink", path => File.WriteAllText(path + "/old", "unlinked"), static (path, _) =>
            Named(path + "/old", static name => Libc.UnlinkAt(Libc.AtCurrentDirectory, name, 0))),
        ("rmdir", path => Directory.CreateDirectory(path + "/old"), static (path, _) =>
            Named(path + "/old", static name => Libc.UnlinkAt(Libc.AtCurrentDirectory, name, Libc.AtRemoveDirectory))),
        ("setxattr", path => File.WriteAllText(path + "/old", "attributed"), static (path, _) => Named(path + "/old", static name =>
        {
            fixed (byte* key = "user.new\0"u8, value = "value"u8)
                return Libc.LSetXattr(name, key, value, 5, Libc.XattrCreate);
        })),
    ];

    public static IEnumerable<string> Calls => s_calls.Select(static call => call.Name);

    public static int Run(string root)
    {
        var prepared = s_calls.Select(call =>
        {
            var path = Path.Combine(root, call.Name);
            Directory.CreateDirectory(path);
            call.Prepare(path);
            return Prepared.Of(path);
        }).ToArray();
        var unlinked = Path.Combine(root, "unlinked");
        File.WriteAllBytes(unlinked, Block(3));
        using var open = File.OpenHandle(unlinked, FileMode.Open, FileAccess.ReadWrite);
        File.Delete(unlinked);
        var later = Path.Combine(root, "unlinked later");
        File.WriteAllBytes(later, Block(4));
        using var openLater = File.OpenHandle(later, FileMode.Open, FileAccess.ReadWrite);
        Console.Out.WriteLine("prepared");

        Wait("go");
        var threads = s_calls.Zip(prepared).Select(pair => new Thread(() =>
        {
            string result;
            try
            {
                result = pair.First.Call(Path.Combine(root, pair.First.Name), pair.Second);
            }
            catch (IOException e)
            {
                result = e.Message;
            }

            Console.Out.WriteLine($"{pair.First.Name}: {result}");
        })).ToArray();
        Array.ForEach(threads, static thread => thread.Start());
        Array.ForEach(threads, static thread => thread.Join());

        Wait("go on");
        Console.Out.WriteLine($"unlinked: {Same(ReadAll(open), 3)}");
        File.Delete(later);
        RandomAccess.Write(openLater, Block(5), 0);
        Console.Out.WriteLine($"unlinked later: {Same(ReadAll(openLater), 5)}");
        Console.Out.WriteLine("done");
        Wait("end");
        return 0;
    }

    public static byte[] Block(byte value) => Enumerable.Repeat(value, BlockBytes).ToArray();

    private static void Wait(string word)
    {
        if (Console.In.ReadLine() != word)
            throw new InvalidOperationException($"not told to {word}");
    }

    private static void None(string path)
    {
    }

    private static void Both(string path)
    {
        File.WriteAllText(path + "/old", "renamed");
        File.WriteAllText(path + "/new", "replaced");
    }

    private static string Created(string path, int flags) => Named(path + "/new", name =>
    {
        var fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.Create | OpenFlags.WriteOnly | OpenFlags.CloseOnExec | flags, Mode);
        if (fd < 0)
            return -1;
        fixed (byte* data = "content"u8)
            return Libc.PWrite(fd, data, 7, 0) == 7 ? Libc.Close(fd) : -1;
    });

    private delegate int OfName(byte* name);

    private delegate int OfTwo(byte* old, byte* name);

    private static string Named(string path, OfName call)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            return Result(call(name));
    }

    private static string Two(string path, OfTwo call)
    {
        fixed (byte* old = Encoding.UTF8.GetBytes(path + "/old\0"), name = Encoding.UTF8.GetBytes(path + "/new\0"))
            return Result(call(old, name));
    }

    private static string Result(int result) => result == 0 ? "ok" : Errno.Describe(Libc.LastErrno);

    private static string Same(byte[] read, byte value) => read.AsSpan().SequenceEqual(Block(value)) ? "ok" : $"reads something else ({read.Length} bytes)";

    private static byte[] ReadAll(SafeFileHandle file)
    {
        var bytes = new byte[RandomAccess.GetLength(file)];
        return bytes[..RandomAccess.Read(file, bytes, 0)];
    }

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static extern int FTruncate(int fd, long length);

    /// <summary>A file that was opened before.</summary>
    private sealed record Prepared(int Fd)
    {
        public static Prepared Of(string path)
        {
            fixed (byte* name = Encoding.UTF8.GetBytes(path + "/f\0"))
                return new Prepared(Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.ReadWrite | OpenFlags.CloseOnExec));
        }

        public byte[] Read()
        {
            var bytes = new byte[BlockBytes];
            fixed (byte* start = bytes)
                return bytes[..(int)Math.Max(0, Libc.PRead(Fd, start, BlockBytes, 0))];
        }

        public int Write(byte[] bytes)
        {
            fixed (byte* start = bytes)
                return Libc.PWrite(Fd, start, (nuint)bytes.Length, 0) == bytes.Length ? 0 : Libc.LastErrno;
        }
    }
}
