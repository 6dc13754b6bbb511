using System.Diagnostics.CodeAnalysis;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Modules;

/// <summary>A volume as it is, except that it tells of the first write after <see cref="Arm"/>: the first output of a guest after its start.</summary>
internal sealed class ObservedVolume(IModuleVolume volume, Action firstWrite) : ILoopVolume
{
    private readonly ILoopVolume? _onLoop = volume as ILoopVolume;
    private volatile bool _armed;

    FuseLoop? ILoopVolume.Loop => _onLoop?.Loop;

    public void Arm() => _armed = true;

    public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
    {
        Note();
        volume.Write(obj, offsetBytes, data, tag);
    }

    void ILoopVolume.WriteOnLoop(ulong obj, long offsetBytes, int buffer, int lengthBytes, OperationTag tag)
    {
        Note();
        _onLoop!.WriteOnLoop(obj, offsetBytes, buffer, lengthBytes, tag);
    }

    bool ILoopVolume.TryReadOnLoop(ulong handle, long offsetBytes, Span<byte> target, out int errno, out int count) =>
        _onLoop!.TryReadOnLoop(handle, offsetBytes, target, out errno, out count);

    bool ILoopVolume.GivesReads => _onLoop!.GivesReads;

    bool ILoopVolume.TryHold(ulong handle, [NotNullWhen(true)] out IRingFile? file) => _onLoop!.TryHold(handle, out file);

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes) => volume.Lookup(parent, name, out attributes);
    public void Forget(ulong obj, ulong count) => volume.Forget(obj, count);
    public int GetAttributes(ulong obj, out ObjectAttributes attributes) => volume.GetAttributes(obj, out attributes);
    public int ReadLink(ulong obj, Span<byte> target, out int length) => volume.ReadLink(obj, target, out length);
    public int Open(ulong obj, int flags, out ulong handle) => volume.Open(obj, flags, out handle);
    public void Close(ulong handle) => volume.Close(handle);
    public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count) => volume.Read(handle, offsetBytes, buffer, out count);
    public int Seek(ulong handle, long offsetBytes, int whence, out long result) => volume.Seek(handle, offsetBytes, whence, out result);
    public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) => volume.ReadDirectory(handle, cookie, visit);
    public void Reference(ulong obj) => volume.Reference(obj);
    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length) => volume.GetXattr(obj, name, value, out length);
    public int ListXattr(ulong obj, Span<byte> names, out int length) => volume.ListXattr(obj, names, out length);
    public int StatFs(ulong obj, out VolumeSpace space) => volume.StatFs(obj, out space);
    public void Flush(ulong obj, bool dataOnly, OperationTag tag) => volume.Flush(obj, dataOnly, tag);
    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed) => volume.Mutate(mutation, completed);

    private void Note()
    {
        if (!_armed)
            return;
        _armed = false;
        firstWrite();
    }
}
