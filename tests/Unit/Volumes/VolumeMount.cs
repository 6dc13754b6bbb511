using System.Diagnostics;
using System.Text;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Fuse;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>A <see cref="FuseVolume"/> over a <see cref="LocalVolume"/>, mounted by the real kernel.</summary>
internal sealed class VolumeMount : IDisposable
{
    private readonly FuseSandbox _sandbox = new();
    private readonly ObjectStore _store;
    private ulong _adopted = ObjectStore.FirstFreeId;

    public VolumeMount(bool answerElsewhere = false)
    {
        var completions = new FuseCompletions();
        _store = ObjectStore.Open(_sandbox.Covered.Handle);
        _store.AdoptUnnamed(() => ++_adopted);
        Volume = new LocalVolume(_store, completions) { AnswerElsewhere = answerElsewhere };
        Session = _sandbox.Start(new FuseVolume(Volume, completions), FuseVolume.SessionOptions("vm1"));
    }

    public LocalVolume Volume { get; }

    public FuseSession Session { get; }

    public string Root => _sandbox.Path;

    public string this[string name] => Path.Combine(Root, name);

    /// <summary>The same file as the store keeps it, under the mount.</summary>
    public string Below(string name) => _sandbox.Below(name);

    /// <summary>The covered directory for programs of other processes.</summary>
    public string RootBelow => $"/proc/{Environment.ProcessId}/fd/{_sandbox.Covered.Handle.DangerousGetHandle()}/.";

    public ulong IdOf(string name)
    {
        Assert.Equal(0, _store.Lookup(IModuleVolume.RootObject, Encoding.UTF8.GetBytes(name), out var attributes));
        return attributes.Object;
    }

    /// <summary>Runs a shell command in the mounted directory; its output.</summary>
    public string Shell(string command)
    {
        using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", command])
        {
            WorkingDirectory = Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        Assert.True(process.WaitForExit(FuseSandbox.Timeout), $"'{command}' did not end");
        Assert.True(process.ExitCode == 0, $"'{command}' exited {process.ExitCode}: {errors.Result}");
        return output.TrimEnd('\n');
    }

    public unsafe int SetXattr(string file, string name, string value, int flags = 0)
    {
        fixed (byte* path = Zero(this[file]), key = Zero(name), data = Encoding.UTF8.GetBytes(value))
            return Libc.LSetXattr(path, key, data, (nuint)value.Length, flags) == 0 ? 0 : Libc.LastErrno;
    }

    public unsafe (int Errno, string Value) GetXattr(string file, string name, int capacityBytes = 1024)
    {
        var buffer = new byte[capacityBytes];
        fixed (byte* path = Zero(this[file]), key = Zero(name), data = buffer)
        {
            var length = Libc.LGetXattr(path, key, data, (nuint)capacityBytes);
            return length < 0 ? (Libc.LastErrno, "") : (0, Encoding.UTF8.GetString(buffer, 0, (int)length));
        }
    }

    public unsafe string[] ListXattr(string file)
    {
        var buffer = new byte[4096];
        fixed (byte* path = Zero(this[file]), data = buffer)
        {
            var length = Libc.LListXattr(path, data, 4096);
            Assert.True(length >= 0, Errno.Describe(Libc.LastErrno));
            return Encoding.UTF8.GetString(buffer, 0, (int)length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
        }
    }

    public unsafe int Rename(string from, string to, uint flags)
    {
        fixed (byte* old = Zero(this[from]), renamed = Zero(this[to]))
            return Libc.RenameAt2(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, renamed, flags) == 0 ? 0 : Libc.LastErrno;
    }

    public void Dispose()
    {
        Session.Stop(FuseSandbox.Timeout);
        Assert.Null(Session.FaultCause);
        Assert.Equal(0, Volume.OpenHandles);
        _store.Dispose();
        _sandbox.Dispose();
    }

    private static byte[] Zero(string text) => Encoding.UTF8.GetBytes(text + "\0");
}
